#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/progress.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/generalisation.hpp>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {

Json measure_bound(const Study& study, const Subject& subject, const BoundSettings& settings) {
  NoGrad guard;
  const std::int64_t classes = study.classes();
  const std::int64_t most = *std::ranges::max_element(settings.labelled);
  const Study::Images test = study.images(Split::test, settings.test);
  // Labelled and unlabelled images come from one order: the first ones have labels.
  const std::int64_t available = study.train->size();
  const std::int64_t unlabelled = std::min(settings.unlabelled, available);
  const Tensors views = study.training_views(Split::train, unlabelled);
  const Tensor unlabelled_targets =
      targets_of(study.images(Split::train, unlabelled).labels, classes);
  const Tensor test_targets = targets_of(test.labels, classes);
  const Tensor test_features = apply_in_chunks(subject.encoder, test.pixels);
  const std::int64_t d = test_features.size(1);
  // Views of another size than the test view's suit a convolutional network only.
  const bool any_size = subject.rectifiers ||
                        narrow(views[0], 0, 0, 1).shape() == narrow(test.pixels, 0, 0, 1).shape();
  Tensor view, other;
  if (any_size) {
    view = apply_in_chunks(subject.encoder, views[0]);
    other = apply_in_chunks(subject.encoder, views[1]);
  }
  const Study::Images labelled = study.images(Split::train, std::min(std::max(most, d), available));
  const Tensor features = apply_in_chunks(subject.encoder, labelled.pixels);
  const Tensor targets = targets_of(labelled.labels, classes);
  Progress progress("bound", "numbers of labels",
                    static_cast<std::int64_t>(settings.labelled.size()));
  std::int64_t done = 0;
  Json rows = Json::array();
  for (const std::int64_t wanted : settings.labelled) {
    const std::int64_t n = wanted == 0 ? d : wanted;
    if (!any_size || n > features.size(0)) {
      rows.push_back({{"labelled", n},
                      {"not_run", any_size ? fmt::format("{} training images", available)
                                           : "the views have another size than the images"}});
      progress.update(++done);
      continue;
    }
    const ssl::BoundTerms terms = ssl::bound_terms(
        narrow(features, 0, 0, n), narrow(targets, 0, 0, n), view, other, unlabelled_targets);
    const double risk = ssl::readout_risk(terms.readout, test_features, test_targets);
    const Tensor predicted = argmax(matmul(to(test_features, DType::f64), terms.readout.weight), 1);
    rows.push_back({{"labelled", n},
                    {"at", wanted == 0 ? "d" : std::to_string(wanted)},
                    {"rank", terms.readout.rank},
                    {"invariance", terms.invariance},
                    {"scaled_invariance", terms.scaled_invariance},
                    {"unlabelled_term", terms.unlabelled},
                    {"labelled_term", terms.labelled},
                    {"sum", terms.sum()},
                    {"risk", risk},
                    {"accuracy", 100 * mean(to(eq(predicted, test.labels), DType::f64)).item()},
                    {"violated", risk > terms.sum()},
                    {"vacuous", terms.vacuous()}});
    progress.update(++done);
  }
  progress.finish();
  return rows;
}

Json report_bound(const Json& all) {
  Json rows = Json::array(), not_run = Json::array();
  for (Json row : all) {
    if (row.contains("not_run")) {
      not_run.push_back(row);
      continue;
    }
    const auto value = [&](const char* term) { return row.at(term).get<double>(); };
    const double quoted = value("invariance") + value("unlabelled_term") + value("labelled_term");
    row["quoted_sum"] = quoted;
    row["quoted_violated"] = value("risk") > quoted;
    row["quoted_vacuous"] = !(quoted < 1);
    rows.push_back(row);
  }
  Json means = Json::array(), marks = Json::array();
  for (const char* term : {"risk", "sum", "quoted_sum", "scaled_invariance", "invariance",
                           "unlabelled_term", "labelled_term", "accuracy"}) {
    for (Json row : group_means(rows, {"at"}, term)) {
      row["term"] = term;
      means.push_back(row);
    }
  }
  for (const Json& row : group_means(rows, {"at"}, "sum")) {
    const Json cell = where(rows, {{"group", row["group"]}, {"at", row["at"]}});
    const auto count = [&](const char* mark) { return where(cell, {{mark, true}}).size(); };
    marks.push_back({{"group", row["group"]},
                     {"labelled", row["at"]},
                     {"networks", cell.size()},
                     {"violated", count("violated")},
                     {"vacuous", count("vacuous")},
                     {"quoted_violated", count("quoted_violated")},
                     {"quoted_vacuous", count("quoted_vacuous")}});
  }
  return {{"notes",
           {"risk <= invariance + 2/sqrt(m) |P Y|_F (unlabelled) + 1/sqrt(n) |P Y|_F (labelled) + "
            "Q; Q cannot be evaluated. quoted_sum: these three terms. sum: |W|_2 invariance in the "
            "place of invariance, which does not change with the scale of the features. It never "
            "says that the bound holds: violated where the risk exceeds the sum, vacuous where the "
            "sum is 1 or more, the risk of predicting 0.",
            "Targets are one-hot, the readout is least squares without bias, n images labelled."}},
          {"tables",
           {table("marks", "in how many networks", marks),
            table("terms", "mean over a group's networks", means),
            table("not run", "cells without a number", not_run),
            table("networks", "every network", rows)}},
          {"figures", Json::array()}};
}

}  // namespace invar::app
