#include <algorithm>
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

struct Candidate {
  const Subject* subject;
  std::int64_t step;  ///< -1: the run's last encoder
  Network encoder;
};

}  // namespace

Json correlation(const Study& study, const CorrelationSettings& settings) {
  NoGrad guard;
  const std::int64_t classes = study.classes();
  const auto all_if_0 = [](std::int64_t wanted, const DatasetPtr& images) {
    return wanted == 0 ? images->size() : wanted;
  };
  const Study::Images train = study.images(Split::train, all_if_0(settings.train, study.train));
  const Study::Images test = study.images(Split::test, all_if_0(settings.test, study.test));
  const Tensors views = study.training_views(Split::test, settings.images);
  const Tensor view_targets = one_hot(study.images(Split::test, settings.images).labels, classes);
  std::vector<Candidate> candidates;
  for (const Subject& subject : study.subjects) {
    if (!subject.trained) continue;
    if (settings.checkpoints) {
      for (const auto& [step, path] : subject.checkpoints) {
        candidates.push_back({&subject, step, load_pair(path, study.device).encoder});
      }
    }
    candidates.push_back({&subject, -1, subject.encoder});
  }
  Progress progress("correlation", "encoders", static_cast<std::int64_t>(candidates.size()));
  std::int64_t done = 0;
  Json rows = Json::array();
  Names names = ssl::diagnostic_names();
  for (const Candidate& candidate : candidates) {
    const ssl::LabelledFeatures known{apply_in_chunks(candidate.encoder, train.pixels),
                                      train.labels};
    const ssl::LabelledFeatures asked{apply_in_chunks(candidate.encoder, test.pixels), test.labels};
    Json row = {{"group", candidate.subject->group},
                {"network", candidate.subject->name},
                {"step", candidate.step < 0 ? Json("end") : Json(candidate.step)}};
    {
      const GradMode recording(true);  // the probe is trained
      row["linear"] = ssl::linear_probe(known, asked, classes, {.seed = study.seed});
    }
    row["knn"] = ssl::knn_accuracy(known, asked, classes);
    const Tensors features = {apply_in_chunks(candidate.encoder, views[0]),
                              apply_in_chunks(candidate.encoder, views[1])};
    for (const std::string& name : names) row[name] = ssl::diagnostic(name, features);
    const ssl::BoundTerms terms = ssl::bound_terms(known.features, one_hot(known.labels, classes),
                                                   features[0], features[1], view_targets);
    row["bound_invariance"] = terms.invariance;
    row["bound_scaled_invariance"] = terms.scaled_invariance;
    row["bound_unlabelled"] = terms.unlabelled;
    row["bound_labelled"] = terms.labelled;
    rows.push_back(row);
    progress.update(++done);
  }
  progress.finish();
  for (const char* term : {"knn", "bound_invariance", "bound_scaled_invariance", "bound_unlabelled",
                           "bound_labelled"}) {
    names.push_back(term);
  }
  Json correlations = Json::array();
  for (const std::string& name : names) {
    std::vector<double> x, y;
    for (const Json& row : rows) {
      const auto value = row.at(name).get<double>();
      if (!std::isfinite(value)) continue;
      x.push_back(value);
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
