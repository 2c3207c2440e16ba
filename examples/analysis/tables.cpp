#include "tables.hpp"

#include <algorithm>
#include <cmath>
#include <invar/ssl/information/statistics.hpp>
#include <limits>

namespace invar::app {
namespace {

/// The distinct combinations of these keys' values, in order of appearance.
std::vector<Json> combinations(const Json& rows, const Names& keys) {
  std::vector<Json> found;
  for (const Json& row : rows) {
    Json values = Json::object();
    for (const std::string& key : keys) values[key] = row.at(key);
    if (std::ranges::find(found, values) == found.end()) found.push_back(values);
  }
  return found;
}

std::vector<double> values_of(const Json& rows, const std::string& value) {
  std::vector<double> values;
  for (const Json& row : rows) {
    if (!row.at(value).is_number()) continue;
    const auto number = row.at(value).get<double>();
    if (std::isfinite(number)) values.push_back(number);
  }
  return values;
}

std::vector<double> numbers(const Json& list) {
  std::vector<double> values;
  for (const Json& v : list) {
    values.push_back(v.is_number() ? v.get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  return values;
}

}  // namespace

Json table(const std::string& name, const std::string& caption, Json rows) {
  return {{"name", name}, {"caption", caption}, {"rows", std::move(rows)}};
}

Json where(const Json& rows, const Json& values) {
  Json kept = Json::array();
  for (const Json& row : rows) {
    bool fits = true;
    for (const auto& [key, value] : values.items()) fits = fits && row.at(key) == value;
    if (fits) kept.push_back(row);
  }
  return kept;
}

Json group_means(const Json& rows, const Names& keys, const std::string& value) {
  Names all = {"group"};
  all.insert(all.end(), keys.begin(), keys.end());
  Json means = Json::array();
  for (Json row : combinations(rows, all)) {
    const std::vector<double> values = values_of(where(rows, row), value);
    row["networks"] = values.size();
    const ssl::Interval interval = values.empty()
                                       ? ssl::Interval{std::nan(""), std::nan(""), std::nan("")}
                                       : ssl::mean_interval(values);
    row["mean"] = interval.mean;
    row["low"] = interval.low;
    row["high"] = interval.high;
    means.push_back(row);
  }
  return means;
}

Json comparisons(const Json& rows, const Names& groups, const Names& keys,
                 const std::string& value) {
  Json result = Json::array();
  for (const Json& setting : combinations(rows, keys)) {
    const Json here = where(rows, setting);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      for (std::size_t j = i + 1; j < groups.size(); ++j) {
        const std::vector<double> a = values_of(where(here, {{"group", groups[i]}}), value);
        const std::vector<double> b = values_of(where(here, {{"group", groups[j]}}), value);
        if (a.size() < 2 || b.size() < 2) continue;
        const ssl::Interval interval = ssl::difference_interval(a, b);
        Json row = setting;
        row["a"] = groups[i];
        row["b"] = groups[j];
        row["networks"] = fmt::format("{} + {}", a.size(), b.size());
        row["difference"] = interval.mean;
        row["low"] = interval.low;
        row["high"] = interval.high;
        const bool few = a.size() + b.size() <= ssl::kMostPermuted;
        row["p"] = few ? Json(ssl::permutation_test(a, b)) : Json();
        row["verdict"] = interval.low > 0    ? groups[i] + " above " + groups[j]
                         : interval.high < 0 ? groups[i] + " below " + groups[j]
                                             : "not resolved";
        result.push_back(row);
      }
    }
  }
  return result;
}

Json lines(const std::string& name, const std::string& title, const Json& means, const Axes& axes) {
  Json figure = {{"name", name},
                 {"title", title},
                 {"x_label", axes.x_label},
                 {"y_label", axes.y_label},
                 {"log_x", axes.log_x},
                 {"log_y", axes.log_y},
                 {"series", Json::array()}};
  for (const Json& group : combinations(means, {"group"})) {
    Json rows = where(means, group);
    std::sort(rows.begin(), rows.end(), [&](const Json& a, const Json& b) {
      return a.at(axes.x).get<double>() < b.at(axes.x).get<double>();
    });
    Json series = {{"name", group["group"]}};
    for (const char* list : {"x", "y", "low", "high"}) series[list] = Json::array();
    for (const Json& row : rows) {
      series["x"].push_back(row.at(axes.x));
      series["y"].push_back(row.at("mean"));
      series["low"].push_back(row.at("low"));
      series["high"].push_back(row.at("high"));
    }
    figure["series"].push_back(series);
  }
  return figure;
}

std::string to_svg(const Json& figure) {
  std::vector<Series> series;
  for (const Json& s : figure.at("series")) {
    series.push_back({s.at("name"), numbers(s.at("x")), numbers(s.at("y")), numbers(s.at("low")),
                      numbers(s.at("high"))});
  }
  if (figure.contains("rows")) {
    return to_svg(DotPlot{figure.at("title"), figure.at("label"), figure.at("rows"), series});
  }
  return to_svg(Figure{.title = figure.at("title"),
                       .x_label = figure.at("x_label"),
                       .y_label = figure.at("y_label"),
                       .log_x = figure.at("log_x"),
                       .log_y = figure.at("log_y"),
                       .series = series});
}

}  // namespace invar::app
