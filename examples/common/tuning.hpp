#pragma once
// Which algorithm computes each convolution (ops/conv_choices.hpp), as text: what the program
// `tune` writes and "training": {"conv_choices": ...} takes.
//
//   [{"pass": "forward", "dtype": "f32", "input": [512, 20, 20, 16], "weight": [16, 3, 3, 16],
//     "padding": [1, 1], "stride": [1, 1], "algorithm": "winograd", "direct_ms": 4.7,
//     "winograd_ms": 4.0}, ...]
//
// A run's config.json, and with it every checkpoint, holds the list itself: a resumed run computes
// as it did before.
#include <invar/core/json_reader.hpp>
#include <invar/ops/conv_choices.hpp>
#include <nlohmann/json.hpp>
#include <vector>

namespace invar::app {

Json to_json(const std::vector<ConvTiming>& timings);

/// Error naming what is wrong with the list, if anything is. Times are not read.
ConvChoices read_conv_choices(const Json& list);

/// Puts the list into the configuration where it has the name of a file with one.
void inline_conv_choices(Json& config);

}  // namespace invar::app
