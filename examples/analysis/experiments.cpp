#include "experiments.hpp"

#include <algorithm>

namespace invar::app {

const std::vector<StudyExperiment>& study_experiments() {
  static const std::vector<StudyExperiment> all = {
      {"normality",
       [](const Study& study, const Subject& subject, const Settings& settings) {
         return measure_normality(study, subject, settings.normality);
       },
       [](const Study& study, const Json& rows, const Settings& settings) {
         return report_normality(study, rows, settings.normality);
       }},
      {"overlap", nullptr,
       [](const Study& study, const Json&, const Settings& settings) {
         return report_overlap(study, settings.overlap);
       }},
      {"affine",
       [](const Study& study, const Subject& subject, const Settings& settings) {
         return measure_affine(study, subject, settings.affine);
       },
       [](const Study& study, const Json& rows, const Settings&) {
         return report_affine(study, rows);
       }},
      {"entropy",
       [](const Study& study, const Subject& subject, const Settings& settings) {
         return measure_entropy(study, subject, settings.entropy);
       },
       [](const Study& study, const Json& rows, const Settings& settings) {
         return report_entropy(study, rows, settings.entropy);
       }},
      {"bound",
       [](const Study& study, const Subject& subject, const Settings& settings) {
         return measure_bound(study, subject, settings.bound);
       },
       [](const Study&, const Json& rows, const Settings&) { return report_bound(rows); }},
      {"correlation",
       [](const Study& study, const Subject& subject, const Settings& settings) {
         return measure_correlation(study, subject, settings.correlation);
       },
       [](const Study& study, const Json& rows, const Settings&) {
         return report_correlation(study, rows);
       }}};
  return all;
}

const StudyExperiment& study_experiment(const std::string& name) {
  const std::vector<StudyExperiment>& all = study_experiments();
  const auto found = std::ranges::find(all, name, &StudyExperiment::name);
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  for (const StudyExperiment& experiment : all) names.push_back(experiment.name);
  fail("--experiments", "unknown name \"{}\": {}", name, suggestion(name, names));
}

}  // namespace invar::app
