#pragma once
// The experiments on trained networks. Each is two functions:
//
//   measure   takes long, and its rows are kept (measurements.hpp):
//             one network -> [{"sigma": 0.1, "mean_p": 0.3, ..}, ..]
//   report    makes tables and figures (tables.hpp) of the rows of all networks, each row with its
//             "group" and "network":
//             {"notes": ["what may be said, and what not", ..],
//              "tables": [{"name", "caption", "rows": [..]}, ..],
//              "figures": [{"name", "title", "series": [..], ..}, ..]}
//
// with the same bits for the same study and settings. docs/paper.md has the reasoning behind them.
#include <functional>
#include <invar/core/json_reader.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "study.hpp"

namespace invar::app {

/// Is the output of a network around an image normal? K^2 per unit over copies of a test image with
/// Gaussian noise; noise and images are the same for every network.
struct NormalitySettings {
  std::int64_t images = 10;
  /// The first is the study's; the others show how much the number matters. Each takes the first of
  /// the largest number of draws.
  std::vector<std::int64_t> draws = {128};
  std::vector<double> sigmas = {0.01, 0.1, 0.3, 0.8};  ///< of the normalised input
  bool expander = false;  ///< the expander's output as well, where there is one
  /// Of so many of the images are the expander's numbers, and those of more draws than the first.
  std::int64_t second_images = 10;
};
Json measure_normality(const Study& study, const Subject& subject,
                       const NormalitySettings& settings);
Json report_normality(const Study& study, const Json& rows, const NormalitySettings& settings);

/// Do small Gaussians around training images overlap? Distances of pixels in [0, 1].
struct OverlapSettings {
  std::int64_t images = 2000;  ///< of the training split, 0: all
  std::int64_t queries = 1000;
  std::vector<double> sigmas = {0.01, 0.1, 0.5};
  std::vector<double> quantiles = {0, 0.001, 0.01, 0.1, 0.5};
};
Json report_overlap(const Study& study, const OverlapSettings& settings);

/// How far is a network affine around an image? Linearisation error, share of rectifiers that flip
/// and of images that stay in their region, one noisy copy per test image.
struct AffineSettings {
  std::int64_t images = 50;
  std::vector<double> sigmas = {0.001, 0.01, 0.1, 0.5};
};
Json measure_affine(const Study& study, const Subject& subject, const AffineSettings& settings);
Json report_affine(const Study& study, const Json& rows);

/// Entropy along training, H - d/2 log(2 pi e s2) in [0, log n], from the checkpoints of run
/// directories: of the trained encoder's and its expander's outputs at fixed test images, raw and
/// with rows of length sqrt(d), upper and lower bound and what lies between them. s2 is one number
/// per output and form for the whole study: pairwise_s2 (upper) of one untrained network. Computed
/// in f32: 1e-4 of a nat.
struct EntropySettings {
  std::int64_t images = 500;
};
Json measure_entropy(const Study& study, const Subject& subject, const EntropySettings& settings);
Json report_entropy(const Study& study, const Json& rows, const EntropySettings& settings);

/// The terms of the generalisation bound and the risk it is about.
struct BoundSettings {
  std::vector<std::int64_t> labelled = {50, 0, 1000};  ///< numbers of labelled images; 0: as many
                                                       ///< as features
  std::int64_t unlabelled = 1000;
  std::int64_t test = 1000;
};
Json measure_bound(const Study& study, const Subject& subject, const BoundSettings& settings);
Json report_bound(const Json& rows);

/// Which diagnostic tells a better encoder? Rank correlation of each with linear accuracy, over all
/// trained networks.
struct CorrelationSettings {
  std::int64_t images = 500;  ///< test images that diagnostics are taken of
  std::int64_t train = 2000;  ///< images that the linear probe learns from, 0: all
  std::int64_t test = 1000;   ///< images that it is tested on, 0: all
  bool checkpoints = false;   ///< every checkpoint of a run, not its last encoder alone
};
Json measure_correlation(const Study& study, const Subject& subject,
                         const CorrelationSettings& settings);
Json report_correlation(const Study& study, const Json& rows);

struct Settings {
  NormalitySettings normality;
  OverlapSettings overlap;
  AffineSettings affine;
  EntropySettings entropy;
  BoundSettings bound;
  CorrelationSettings correlation;
};

/// The protocols of docs/paper.md; the defaults above take minutes instead of hours.
Json paper_settings();

/// From {"normality": {"images": 10, ..}, ..}, where everything may be left out. A misspelt key or
/// a value that makes no sense is an Error.
Settings read_settings(const Json& json);

/// Where one of these experiments asks for more images than there are: Error naming the setting if
/// it is among the `chosen` ones ({"overlap": {"images": 97}}); else it is cut to them, with a
/// word.
void fit_counts(Settings& settings, const Json& chosen, const std::vector<std::string>& experiments,
                const Study& study);

/// Every setting with its value, for the record.
Json to_json(const Settings& settings);

struct StudyExperiment {
  std::string name;
  /// Empty if there is nothing to measure network by network.
  std::function<Json(const Study&, const Subject&, const Settings&)> measure;
  std::function<Json(const Study&, const Json& rows, const Settings&)> report;
};

/// In the order in which they are shown.
const std::vector<StudyExperiment>& study_experiments();

/// The one of that name; Error that names the nearest one if there is none.
const StudyExperiment& study_experiment(const std::string& name);

}  // namespace invar::app
