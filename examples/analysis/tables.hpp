#pragma once
// Tables: rows of numbers, one per network and setting, and what is said of groups of networks.
//
//   rows          [{"group": "vicreg", "network": "runs/v0", "sigma": 0.1, "mean_p": 0.3}, ..]
//   group_means   mean and 95 % interval over a group's networks, for each setting
//   comparisons   differences between groups with interval and exact permutation test
//
// They are JSON, so that analysis.json, the page and whoever reads the file see the same. A value
// that could not be measured is null and is left out of means.
#include <invar/core/json_reader.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../common/figure.hpp"

namespace invar::app {

using Names = std::vector<std::string>;

/// {"name", "caption", "rows"}, as an experiment's result lists them.
Json table(const std::string& name, const std::string& caption, Json rows);

/// One row per group and distinct values of `keys`, in order of appearance: these, "networks", and
/// "mean", "low", "high" of `value`.
Json group_means(const Json& rows, const Names& keys, const std::string& value);

/// One row per pair of `groups` with two networks each and distinct values of `keys`: "a", "b",
/// "difference" (mean of a less that of b), "low", "high" (Welch), "p" (permutation_test; null for
/// more than 24 networks) and "verdict": "a above b", "a below b" where the interval excludes 0,
/// else "not resolved".
Json comparisons(const Json& rows, const Names& groups, const Names& keys,
                 const std::string& value);

/// The rows in which every key of `values` has that value.
Json where(const Json& rows, const Json& values);

/// A line per group over `x` from rows of group_means, as JSON: to_svg's argument.
struct Axes {
  std::string x, x_label, y_label;
  bool log_x = false, log_y = false;
};
Json lines(const std::string& name, const std::string& title, const Json& means, const Axes& axes);

/// What `lines` described, or a DotPlot as JSON: the same keys, and "rows"; null is no number.
std::string to_svg(const Json& figure);

}  // namespace invar::app
