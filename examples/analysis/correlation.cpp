#include <array>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/progress.hpp>
#include <invar/ssl/evaluation.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/information/generalisation.hpp>
#include <invar/ssl/information/statistics.hpp>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {
namespace {

/// Of the bound's terms in a row.
constexpr std::array kTerms = {"bound_invariance", "bound_scaled_invariance", "bound_unlabelled",
                               "bound_labelled"};

}  // namespace

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
  const Tensor view_targets = one_hot(study.images(Split::test, settings.images).labels, classes);
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
    const ssl::BoundTerms terms = ssl::bound_terms(known.features, one_hot(known.labels, classes),
                                                   features[0], features[1], view_targets);
    row[kTerms[0]] = terms.invariance;
    row[kTerms[1]] = terms.scaled_invariance;
    row[kTerms[2]] = terms.unlabelled;
    row[kTerms[3]] = terms.labelled;
    rows.push_back(row);
    progress.update(++done);
  }
  progress.finish();
  return rows;
}

Json report_correlation(const Json& rows) {
  Names names = ssl::diagnostic_names();
  names.push_back("knn");
  names.insert(names.end(), kTerms.begin(), kTerms.end());
  Json correlations = Json::array();
  for (const std::string& name : names) {
    std::vector<double> x, y;
    for (const Json& row : rows) {
      // A diagnostic without a value is null in a network's file.
      if (!row.at(name).is_number() || !std::isfinite(row.at(name).get<double>())) continue;
      x.push_back(row.at(name));
      y.push_back(row.at("linear").get<double>());
    }
    if (x.size() < 3) {
      correlations.push_back(
          {{"diagnostic", name}, {"encoders", x.size()}, {"rho", Json()}, {"p", Json()}});
      continue;
    }
    const ssl::RankCorrelation r = ssl::rank_correlation(x, y);
    correlations.push_back(
        {{"diagnostic", name}, {"encoders", x.size()}, {"rho", r.rho}, {"p", r.p}});
  }
  return {{"notes",
           {"Spearman's rho with linear accuracy over trained encoders. Checkpoints of one run and "
            "seeds of one method are not independent, so p is too small; below three encoders "
            "nothing is said.",
            "Diagnostics of the encoder's features of two training views of test images; the "
            "bound's terms with all training images of the probe labelled."}},
          {"tables",
           {table("rank correlations", "with linear accuracy", correlations),
            table("encoders", "every encoder", rows)}},
          {"figures", Json::array()}};
}

}  // namespace invar::app
