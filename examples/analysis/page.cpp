#include "page.hpp"

#include <cmath>
#include <set>

#include "tables.hpp"

namespace invar::app {
namespace {

constexpr const char* kStyle =
    "body{font:14px/1.5 sans-serif;color:#222;max-width:1040px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:.4em 0 1em;font-size:13px}"
    "th,td{padding:.15em .7em;border-bottom:1px solid #ddd;text-align:right;"
    "font-variant-numeric:tabular-nums}"
    "th{background:#f4f4f4}td.text,th.text{text-align:left}"
    "li{max-width:50em}figure{display:inline-block;margin:.3em}svg{max-width:100%;height:auto}"
    "summary{cursor:pointer;font-weight:bold}code{background:#f4f4f4}pre{overflow:auto}";

/// Tables longer than this are folded.
constexpr std::size_t kLong = 24;

std::string cell(const Json& value) {
  if (value.is_null()) return "<td>not measured</td>";
  if (value.is_boolean()) return value.get<bool>() ? "<td>yes</td>" : "<td>no</td>";
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    return std::isfinite(number) ? fmt::format("<td>{:.5g}</td>", number) : "<td>not measured</td>";
  }
  if (value.is_string()) {
    return fmt::format("<td class=\"text\">{}</td>", escape_xml(value.get<std::string>()));
  }
  return fmt::format("<td>{}</td>", escape_xml(value.dump()));
}

/// What tells rows apart first, then their values.
std::vector<std::string> columns_of(const Json& rows) {
  std::vector<std::string> columns;
  const Json& row = rows.front();
  for (const char* first :
       {"group", "a", "b", "network", "networks", "diagnostic", "term", "output", "form", "bound",
        "at", "draws", "step", "sigma", "quantile", "mean", "difference", "low", "high"}) {
    if (row.contains(first)) columns.push_back(first);
  }
  const std::set<std::string> known(columns.begin(), columns.end());
  for (const auto& [key, value] : row.items()) {
    if (!known.contains(key)) columns.push_back(key);
  }
  return columns;
}

std::string html_table(const Json& table) {
  const Json& rows = table.at("rows");
  const std::string title = escape_xml(table.at("name").get<std::string>()) + ": " +
                            escape_xml(table.at("caption").get<std::string>());
  if (rows.empty()) return fmt::format("<p><b>{}</b>: none</p>\n", title);
  const std::vector<std::string> columns = columns_of(rows);
  std::string html = fmt::format("<details{}><summary>{}</summary>\n<table><tr>",
                                 rows.size() > kLong ? "" : " open", title);
  for (const std::string& column : columns) html += fmt::format("<th>{}</th>", escape_xml(column));
  html += "</tr>\n";
  for (const Json& row : rows) {
    html += "<tr>";
    for (const std::string& column : columns) {
      // Controls are of no seed.
      const bool none = column == "seed" && row.value(column, Json()).is_null();
      html += none ? "<td>–</td>" : cell(row.value(column, Json()));
    }
    html += "</tr>\n";
  }
  return html + "</table></details>\n";
}

}  // namespace

std::string to_html(const Json& analysis) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>analysis</title>\n"
      "<style>{}</style></head>\n<body>\n<h1>Analysis</h1>\n",
      kStyle);
  html += html_table(table("networks", "what was analysed", analysis.at("networks")));
  html += fmt::format("<details><summary>settings</summary><pre>{}</pre></details>\n",
                      escape_xml(Json{{"data", analysis.at("data")},
                                      {"seed", analysis.at("seed")},
                                      {"settings", analysis.at("settings")}}
                                     .dump(2)));
  for (const Json& experiment : analysis.at("experiments")) {
    html +=
        fmt::format("<h2>{}</h2>\n<ul>\n", escape_xml(experiment.at("name").get<std::string>()));
    for (const Json& note : experiment.at("notes")) {
      html += fmt::format("<li>{}</li>\n", escape_xml(note.get<std::string>()));
    }
    html += "</ul>\n";
    for (const Json& figure : experiment.at("figures")) {
      html += "<figure>" + to_svg(figure) + "</figure>\n";
    }
    for (const Json& rows : experiment.at("tables")) html += html_table(rows);
  }
  return html + "</body></html>\n";
}

}  // namespace invar::app
