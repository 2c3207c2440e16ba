#pragma once
// Figure: lines over one axis as SVG, for pages and papers; DotPlot: named rows beside each other.
// A file of its own or part of an HTML page; no scripts, no fonts to load.
//
//   Figure figure{.title = "normality", .x_label = "sigma", .y_label = "mean p", .log_x = true};
//   figure.series.push_back({.name = "vicreg", .x = {..}, .y = {..}, .low = {..}, .high = {..}});
//   const std::string svg = to_svg(figure);
#include <string>
#include <vector>

namespace invar::app {

/// A line with a mark at each point, and a band from low to high where both are finite, cut off at
/// the frame. Points that are not finite, or not positive on a logarithmic axis, are left out.
struct Series {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low = {}, high = {};  ///< empty, or as many as y
};

struct Figure {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  std::vector<Series> series = {};
};

/// A row per name, from top to bottom, and in it a mark for each series at its y of that row, with
/// a bar from low to high where both are finite; x is not used. A row's values that are not finite
/// are left out.
struct DotPlot {
  std::string title, label;
  std::vector<std::string> rows;
  std::vector<Series> series = {};
};

/// Where to put marks on an axis from low to high, low < high: multiples of 1, 2 or 5 times a power
/// of ten, at least two; logarithmic axes get powers of ten, with 2 and 5 between if there are few.
std::vector<double> axis_ticks(double low, double high, bool logarithmic);

/// A complete <svg> element. Series of equal name have equal colour in every figure that lists the
/// same names in the same order.
std::string to_svg(const Figure& figure);
std::string to_svg(const DotPlot& plot);

/// For text in XML and HTML: & < > and quotes.
std::string escape_xml(const std::string& text);

}  // namespace invar::app
