#include "figure.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <invar/core/error.hpp>
#include <limits>

namespace invar::app {
namespace {

// Pixels: the plot's frame, the legend to the right of it.
constexpr double kWidth = 640, kHeight = 360;
constexpr double kLeft = 64, kRight = 470, kTop = 36, kBottom = 308;
/// Told apart by colour-blind people, too (Okabe and Ito).
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#000000", "#999933"};

/// Beyond the last colour they begin again, with broken lines.
struct Pen {
  const char* colour;
  const char* dashes;  ///< an attribute, or nothing
};

Pen pen_of(std::size_t series) {
  constexpr std::size_t kCount = std::size(kColours);
  return {kColours[series % kCount], series < kCount ? "" : " stroke-dasharray=\"6 3\""};
}

/// One axis: values to pixels.
struct Axis {
  double low, high;  ///< values, or their logarithms
  double from, to;   ///< pixels
  bool logarithmic;

  double operator()(double value) const {
    const double v = logarithmic ? std::log10(value) : value;
    return from + (v - low) / (high - low) * (to - from);
  }
  bool shows(double value) const { return std::isfinite(value) && (!logarithmic || value > 0); }
};

Axis axis_of(const std::vector<double>& values, bool logarithmic, double from, double to) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double v : values) {
    if (!std::isfinite(v) || (logarithmic && v <= 0)) continue;
    low = std::min(low, logarithmic ? std::log10(v) : v);
    high = std::max(high, logarithmic ? std::log10(v) : v);
  }
  if (low > high) low = 0, high = 1;
  // A little room; some, too, around a single value.
  // Equal but for rounding is equal: no ticks lie between such ends.
  const bool differ = high - low > 1e-9 * std::max(std::abs(low), std::abs(high));
  const double room = differ ? 0.04 * (high - low) : std::max(0.5, 0.1 * std::abs(high));
  return {low - room, high + room, from, to, logarithmic};
}

/// The axis of the lines; their bands widen it, but only so far that lines stay readable: those of
/// two or three networks may be many times as wide as what is to be seen.
Axis value_axis(const Figure& figure) {
  std::vector<double> lines, all;
  for (const Series& series : figure.series) {
    lines.insert(lines.end(), series.y.begin(), series.y.end());
    for (const auto* values : {&series.y, &series.low, &series.high}) {
      all.insert(all.end(), values->begin(), values->end());
    }
  }
  const Axis narrow = axis_of(lines, figure.log_y, kBottom, kTop);
  Axis axis = axis_of(all, figure.log_y, kBottom, kTop);
  const double room = 0.4 * (narrow.high - narrow.low);
  axis.low = std::max(axis.low, narrow.low - room);
  axis.high = std::min(axis.high, narrow.high + room);
  return axis;
}

std::string number(double value) { return fmt::format("{:.4g}", value); }

/// Points that both axes show, as "x,y x,y".
std::string points(const Axis& x, const Axis& y, const std::vector<double>& xs,
                   const std::vector<double>& ys, bool backwards = false) {
  std::vector<std::string> list;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    if (x.shows(xs[i]) && y.shows(ys[i])) {
      list.push_back(fmt::format("{:.1f},{:.1f}", x(xs[i]), y(ys[i])));
    }
  }
  if (backwards) std::ranges::reverse(list);
  return fmt::format("{}", fmt::join(list, " "));
}

std::string text(double x, double y, const char* anchor, const std::string& content,
                 const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, escape_xml(content));
}

std::string draw_axes(const Figure& figure, const Axis& x, const Axis& y) {
  std::string svg;
  const auto values = [](const Axis& axis) {
    return axis.logarithmic ? axis_ticks(std::pow(10, axis.low), std::pow(10, axis.high), true)
                            : axis_ticks(axis.low, axis.high, false);
  };
  for (const double tick : values(x)) {
    svg += fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/>\n", x(tick), kTop, kBottom);
    svg += text(x(tick), kBottom + 16, "middle", number(tick));
  }
  for (const double tick : values(y)) {
    svg += fmt::format("<path class=\"grid\" d=\"M{1} {0:.1f}H{2}\"/>\n", y(tick), kLeft, kRight);
    svg += text(kLeft - 6, y(tick) + 4, "end", number(tick));
  }
  svg += fmt::format("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
                     kLeft, kTop, kRight - kLeft, kBottom - kTop);
  svg += text((kLeft + kRight) / 2, kTop - 14, "middle", figure.title, " class=\"title\"");
  svg += text((kLeft + kRight) / 2, kBottom + 36, "middle", figure.x_label);
  const double middle = (kTop + kBottom) / 2;
  svg += text(14, middle, "middle", figure.y_label,
              fmt::format(" transform=\"rotate(-90 14 {:.1f})\"", middle));
  return svg;
}

std::string draw_series(const Series& series, const Pen& pen, const Axis& x, const Axis& y) {
  check(series.x.size() == series.y.size() && series.low.size() == series.high.size() &&
            (series.low.empty() || series.low.size() == series.y.size()),
        "figure", "expected as many values of y and of the band as of x in \"{}\"", series.name);
  std::string svg;
  if (!series.low.empty()) {
    std::vector<double> xs, low, high;
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!y.shows(series.low[i]) || !y.shows(series.high[i])) continue;
      xs.push_back(series.x[i]);
      low.push_back(series.low[i]);
      high.push_back(series.high[i]);
    }
    if (!xs.empty()) {
      svg += fmt::format(
          "<polygon points=\"{} {}\" fill=\"{}\" fill-opacity=\".18\" "
          "clip-path=\"url(#plot)\"/>\n",
          points(x, y, xs, low), points(x, y, xs, high, true), pen.colour);
    }
  }
  svg +=
      fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{}/>\n",
                  points(x, y, series.x, series.y), pen.colour, pen.dashes);
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!x.shows(series.x[i]) || !y.shows(series.y[i])) continue;
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.4\" fill=\"{}\"><title>{}: {}, {}</title>"
        "</circle>\n",
        x(series.x[i]), y(series.y[i]), pen.colour, escape_xml(series.name), number(series.x[i]),
        number(series.y[i]));
  }
  return svg;
}

/// The beginning of a picture: its size, styles and background.
std::string open_svg(double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n"
      "<style>.grid{{stroke:#ddd;fill:none}}.frame{{stroke:#888;fill:none}}"
      ".title{{font-size:13px;font-weight:bold}}</style>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
      kWidth, height);
}

std::string legend_entry(double y, const Pen& pen, const std::string& name) {
  return fmt::format("<path d=\"M{} {:.1f}h18\" stroke=\"{}\" stroke-width=\"3\"{}/>\n",
                     kRight + 14, y - 4, pen.colour, pen.dashes) +
         text(kRight + 38, y, "start", name);
}

}  // namespace

std::string escape_xml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::vector<double> axis_ticks(double low, double high, bool logarithmic) {
  check(low < high && (!logarithmic || low > 0), "axis_ticks", "expected low < high, got {} and {}",
        low, high);
  std::vector<double> ticks;
  if (logarithmic) {
    const int first = static_cast<int>(std::floor(std::log10(low)));
    const int last = static_cast<int>(std::ceil(std::log10(high)));
    for (int exponent = first; exponent <= last; ++exponent) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10, exponent);
        if (tick >= low && tick <= high && (factor == 1 || last - first <= 3))
          ticks.push_back(tick);
      }
    }
    if (ticks.size() >= 2) return ticks;
    ticks.clear();  // less than a decade: as on a linear axis
  }
  const double rough = (high - low) / 5, power = std::pow(10, std::floor(std::log10(rough)));
  const double part = rough / power;
  const double step = power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
  for (double i = std::ceil(low / step); i * step <= high; ++i) ticks.push_back(i * step + 0.0);
  return ticks;
}

std::string to_svg(const Figure& figure) {
  std::vector<double> xs;
  for (const Series& series : figure.series) {
    xs.insert(xs.end(), series.x.begin(), series.x.end());
  }
  const Axis x = axis_of(xs, figure.log_x, kLeft, kRight), y = value_axis(figure);
  std::string svg = open_svg(kHeight);
  svg += fmt::format(
      "<clipPath id=\"plot\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n",
      kLeft, kTop, kRight - kLeft, kBottom - kTop);
  svg += draw_axes(figure, x, y);
  double legend = kTop + 10;
  for (std::size_t i = 0; i < figure.series.size(); ++i) {
    const Pen pen = pen_of(i);
    const Series& series = figure.series[i];
    svg += draw_series(series, pen, x, y);
    if (points(x, y, series.x, series.y).empty()) continue;  // nothing of it is to be seen
    svg += legend_entry(legend, pen, series.name);
    legend += 18;
  }
  return svg + "</svg>\n";
}

std::string to_svg(const DotPlot& plot) {
  constexpr double kNames = 170, kRow = 24;
  const double bottom = kTop + kRow * static_cast<double>(plot.rows.size());
  std::vector<double> values;
  for (const Series& series : plot.series) {
    check(series.y.size() == plot.rows.size() && series.low.size() == series.high.size() &&
              (series.low.empty() || series.low.size() == series.y.size()),
          "figure", "expected {} values of y, and as many of the bars or none, in \"{}\"",
          plot.rows.size(), series.name);
    for (const auto* list : {&series.y, &series.low, &series.high}) {
      values.insert(values.end(), list->begin(), list->end());
    }
  }
  const Axis at = axis_of(values, false, kNames, kRight);
  std::string svg = open_svg(bottom + 48);
  for (const double tick : axis_ticks(at.low, at.high, false)) {
    svg += fmt::format("<path class=\"{}\" d=\"M{:.1f} {}V{}\"/>\n", tick == 0 ? "frame" : "grid",
                       at(tick), kTop, bottom);
    svg += text(at(tick), bottom + 16, "middle", number(tick));
  }
  svg += text((kNames + kRight) / 2, kTop - 14, "middle", plot.title, " class=\"title\"");
  svg += text((kNames + kRight) / 2, bottom + 36, "middle", plot.label);
  for (std::size_t row = 0; row < plot.rows.size(); ++row) {
    const double top = kTop + kRow * static_cast<double>(row);
    svg += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/>\n", kNames, top, kRight);
    svg += text(kNames - 8, top + kRow / 2 + 4, "end", plot.rows[row]);
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
      const Series& series = plot.series[i];
      if (!at.shows(series.y[row])) continue;
      const Pen pen = pen_of(i);
      const double y = top + kRow * static_cast<double>(i + 1) / (plot.series.size() + 1.0);
      if (!series.low.empty() && at.shows(series.low[row]) && at.shows(series.high[row])) {
        svg +=
            fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"{}\" stroke-width=\"1.8\"/>\n",
                        at(series.low[row]), y, at(series.high[row]), pen.colour);
      }
      svg += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" fill=\"{}\"><title>{}, {}: {}</title>"
          "</circle>\n",
          at(series.y[row]), y, pen.colour, escape_xml(series.name), escape_xml(plot.rows[row]),
          number(series.y[row]));
    }
  }
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    svg += legend_entry(kTop + 10 + 18 * static_cast<double>(i), pen_of(i), plot.series[i].name);
  }
  return svg + "</svg>\n";
}

}  // namespace invar::app
