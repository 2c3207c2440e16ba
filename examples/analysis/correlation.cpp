#include <algorithm>
#include <cmath>
#include <functional>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/progress.hpp>
#include <invar/ssl/evaluation.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/information/generalisation.hpp>
#include <invar/ssl/information/statistics.hpp>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {

Json measure_correlation(const Study& study, const Subject& subject,
                         const CorrelationSettings& settings) {
  NoGrad guard;
  Json rows = Json::array();
  if (!subject.trained) return rows;
  const std::int64_t classes = study.classes();
  const auto all_if_0 = [](std::int64_t wanted, const DatasetPtr& images) {
    return wanted == 0 ? images->size() : wanted;
  };
  const Study::Images train = study.images(Split::train, all_if_0(settings.train, study.train));
  const Study::Images test = study.images(Split::test, all_if_0(settings.test, study.test));
  const Tensors views = study.training_views(Split::test, settings.images);
  const Tensor view_targets =
      targets_of(study.images(Split::test, settings.images).labels, classes);
  std::vector<std::pair<Json, Network>> encoders;  // with their steps
  if (settings.checkpoints) {
    for (const auto& [step, path] : subject.checkpoints) {
      encoders.emplace_back(step, load_pair(path, study.device).encoder);
    }
  }
  encoders.emplace_back("end", subject.encoder);
  Progress progress("correlation", "encoders", static_cast<std::int64_t>(encoders.size()));
  std::int64_t done = 0;
  for (const auto& [step, encoder] : encoders) {
    const ssl::LabelledFeatures known{apply_in_chunks(encoder, train.pixels), train.labels};
    const ssl::LabelledFeatures asked{apply_in_chunks(encoder, test.pixels), test.labels};
    Json row = {{"step", step}};
    {
      const GradMode recording(true);  // the probe is trained
      row["linear"] = ssl::linear_probe(known, asked, classes, {.seed = study.seed});
    }
    row["knn"] = ssl::knn_accuracy(known, asked, classes);
    const Tensors features = {apply_in_chunks(encoder, views[0]),
                              apply_in_chunks(encoder, views[1])};
    for (const std::string& name : ssl::diagnostic_names()) {
      row[name] = ssl::diagnostic(name, features);
    }
    const ssl::BoundTerms terms = ssl::bound_terms(
        known.features, targets_of(known.labels, classes), features[0], features[1], view_targets);
    for (const auto& [name, value] : terms.named()) row[name] = value;
    rows.push_back(row);
    progress.update(++done);
  }
  progress.finish();
  return rows;
}

namespace {

/// Spearman's correlation of a diagnostic with linear accuracy over rows that have both; nullopt
/// below three.
std::optional<ssl::RankCorrelation> with_accuracy(const std::vector<const Json*>& rows,
                                                  const std::string& diagnostic,
                                                  std::size_t& count) {
  std::vector<double> x, y;
  for (const Json* row : rows) {
    // A diagnostic without a value is null in a network's file.
    const auto value = row->find(diagnostic);
    if (value == row->end() || !value->is_number()) continue;
    if (!std::isfinite(value->get<double>())) continue;
    x.push_back(*value);
    y.push_back(row->at("linear").get<double>());
  }
  count = x.size();
  if (count < 3) return std::nullopt;
  return ssl::rank_correlation(x, y);
}

/// Below this a method's own correlation is of too few encoders to be drawn.
constexpr std::int64_t kDrawn = 5;

/// The three tables beside each other: a row per diagnostic, the strongest among finished encoders
/// first.
Json dots(const Json& between, const Json& of_methods, const Json& within) {
  std::vector<std::size_t> order(between.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto strength = [&](std::size_t i) {
    for (const Json* table : {&between, &within}) {
      const Json& rho = (*table)[i].at("rho");  // NaN: the diagnostic is always the same
      if (rho.is_number() && std::isfinite(rho.get<double>())) return std::abs(rho.get<double>());
    }
    return -1.0;
  };
  std::ranges::stable_sort(order, std::greater<>(), strength);
  Json rows = Json::array(), series = Json::array();
  for (const std::size_t i : order) {
    if (strength(i) >= 0) rows.push_back(between[i].at("diagnostic"));
  }
  // `values`: by diagnostic, {"rho"} or {"rho", "low", "high"}.
  const auto add = [&](const std::string& name, const std::map<std::string, Json>& values) {
    Json one = {{"name", name}, {"x", Json::array()}};
    for (const char* list : {"y", "low", "high"}) one[list] = Json::array();
    for (const Json& row : rows) {
      const auto found = values.find(row.get<std::string>());
      const Json value = found == values.end() ? Json::object() : found->second;
      one["y"].push_back(value.value("rho", Json()));
      one["low"].push_back(value.value("low", Json()));
      one["high"].push_back(value.value("high", Json()));
    }
    series.push_back(one);
  };
  std::map<std::string, Json> all, along;
  std::map<std::string, std::map<std::string, Json>> own;
  for (const Json& row : between) all[row.at("diagnostic")] = row;
  for (const Json& row : within) along[row.at("diagnostic")] = row;
  for (const Json& row : of_methods) {
    if (row.at("encoders") >= kDrawn) own[row.at("group")][row.at("diagnostic")] = row;
  }
  add("finished encoders", all);
  for (const auto& [method, values] : own) add("of " + method, values);
  add("along a run, mean", along);
  return {{"name", "correlation"},
          {"title", "Correlation with linear accuracy"},
          {"label", "Spearman's rho"},
          {"rows", rows},
          {"series", series}};
}

}  // namespace

Json report_correlation(const Study& study, const Json& rows) {
  Names names = ssl::diagnostic_names();
  names.push_back("knn");
  for (const auto& [term, value] : ssl::BoundTerms().named()) names.push_back(term);
  std::vector<const Json*> last, every;
  std::map<std::string, std::vector<const Json*>> runs, methods;
  const std::set<std::string> supervised = study.supervised_groups();
  for (const Json& row : rows) {
    const auto group = row.at("group").get<std::string>();
    const bool finished = row.at("step") == "end";
    if (finished) methods[group].push_back(&row);
    if (supervised.contains(group)) continue;  // controls: a few would decide every order
    every.push_back(&row);
    if (finished) {
      last.push_back(&row);
    } else {
      runs[row.at("network").get<std::string>()].push_back(&row);
    }
  }
  Json between = Json::array(), within = Json::array(), of_methods = Json::array();
  Json pooled = Json::array();
  for (const std::string& name : names) {
    std::size_t count = 0;
    const auto of_all = with_accuracy(every, name, count);
    pooled.push_back(
        {{"diagnostic", name}, {"encoders", count}, {"rho", of_all ? Json(of_all->rho) : Json()}});
    const auto r = with_accuracy(last, name, count);
    between.push_back({{"diagnostic", name},
                       {"encoders", count},
                       {"rho", r ? Json(r->rho) : Json()},
                       {"p", r ? Json(r->p) : Json()}});
    for (const auto& [method, members] : methods) {
      const auto own = with_accuracy(members, name, count);
      if (own && std::isfinite(own->rho)) {
        of_methods.push_back(
            {{"diagnostic", name}, {"group", method}, {"encoders", count}, {"rho", own->rho}});
      }
    }
    std::vector<double> of_runs;
    for (const auto& [network, members] : runs) {
      const auto own = with_accuracy(members, name, count);
      if (own && std::isfinite(own->rho)) of_runs.push_back(own->rho);  // NaN: always the same
    }
    const bool some = of_runs.size() >= 2;
    const ssl::Interval mean = some ? ssl::mean_interval(of_runs) : ssl::Interval{};
    within.push_back({{"diagnostic", name},
                      {"runs", of_runs.size()},
                      {"rho", some ? Json(mean.mean) : Json()},
                      // Student's interval knows no bounds, a correlation has them.
                      {"low", some ? Json(std::max(mean.low, -1.0)) : Json()},
                      {"high", some ? Json(std::min(mean.high, 1.0)) : Json()}});
  }
  return {
      {"notes",
       {"Spearman's rho with linear accuracy, asked in four ways: do finished encoders rank by "
        "the diagnostic (one value per training run; runs of one method are alike, so p is too "
        "small still), do those of one method, and does it follow accuracy along a run (rho over "
        "the checkpoints of each run, then mean and 95 % interval over runs), and over all "
        "checkpoints of all runs at once, where time and method are mixed. They may differ in "
        "sign. Below three encoders nothing is said. Networks that were trained with labels are "
        "controls: they have their place among the encoders and within methods only. Runs of one "
        "method are alike along training, too, so the intervals over runs are too narrow.",
        "Diagnostics of the encoder's features of two training views of test images; the "
        "bound's terms with all training images of the probe labelled, so that labelled and "
        "unlabelled term are errors of a linear readout themselves, near accuracy by their "
        "making."}},
      {"tables",
       {table("rank correlations", "of finished encoders with linear accuracy", between),
        table("within methods", "of the finished encoders of each group", of_methods),
        table("within runs", "of each run's checkpoints with linear accuracy", within),
        table("all checkpoints", "of the checkpoints of all runs and the finished encoders",
              pooled),
        table("encoders", "every encoder", rows)}},
      {"figures", Json::array({dots(between, of_methods, within)})}};
}

}  // namespace invar::app
