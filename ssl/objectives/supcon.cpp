#include <invar/ssl/objectives/supcon.hpp>

namespace invar::ssl {

SupCon::SupCon(const Options& options) : Objective("supcon", {.labels = true}), options_(options) {
  check(options.temperature > 0, name(), "expected temperature > 0, got {}", options.temperature);
}

SupCon::Options SupCon::read_options(JsonReader& reader) {
  Options o;
  o.temperature = reader.get("temperature", o.temperature);
  return o;
}

}  // namespace invar::ssl
