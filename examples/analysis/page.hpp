#pragma once
// analysis.json as one HTML page: figures, tables and what may be said of them, in one file that
// needs nothing else.
#include <invar/core/json_reader.hpp>
#include <nlohmann/json.hpp>
#include <string>

namespace invar::app {

/// `analysis`: what the program analyze writes.
std::string to_html(const Json& analysis);

}  // namespace invar::app
