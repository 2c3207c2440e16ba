#pragma once
// Study: the networks to look at, in groups, and the data to look at them with.
//
//   Study ---- groups ---- Subject ---- network     what is analysed; "vicreg", "simclr", ...
//     |                      |--- expander          with the encoder that it was trained with
//     |                      |--- checkpoints       for what happens along training
//     |                      `--- measured          or, instead of all these: what an earlier
//     |                                             analysis found out about the network
//     |---- controls: untrained, linear             the same for every experiment
//     `---- images: test view, train and test split
//
// A group's members are training seeds: they are what intervals and tests are over.
#include <filesystem>
#include <functional>
#include <invar/core/json_reader.hpp>
#include <invar/data/dataset.hpp>
#include <invar/data/pipeline.hpp>
#include <invar/nn/resnet.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../common/encoder_file.hpp"
#include "../common/experiment.hpp"

namespace invar::app {

/// [n, H, W, C] -> [n, d] in eval mode, from the CPU to the CPU wherever it is computed.
using Network = std::function<Tensor(const Tensor&)>;

struct Subject {
  std::string group;
  std::string name;  ///< the path, or "untrained 0"
  Json config;       ///< what it was trained with; null for a control without
  Network encoder;   ///< what evaluation sees: the averaged encoder if there is one; empty if the
                     ///< network was measured before
  /// The same, if it is an average whose batch-norm statistics are yet to be measured.
  std::shared_ptr<TrainedEncoder> average = {};
  Network expander;  ///< images to embeddings through the trained encoder; empty if unknown
  /// Saved along training, by step; empty unless the subject is a run directory.
  std::vector<std::pair<std::int64_t, std::filesystem::path>> checkpoints = {};
  bool trained = true;
  bool ended = true;       ///< false: a run directory without its final encoder
  bool rectifiers = true;  ///< false: linear
  bool has_expander = false;
  std::int64_t saved = 0;  ///< checkpoints
  /// {"settings", "rows"} by experiment, and the study that they were made in (measurements.hpp).
  Json measured = Json::object(), measured_in = {};
};

/// What `measured` holds and how its network is called: a network that needs no other file. Error
/// if it is no such file.
Subject read_measured(const std::filesystem::path& file);
void write_measured(const Subject& subject, const std::filesystem::path& file);

/// An encoder and what follows it: images to features, features to embeddings.
struct NetworkPair {
  Network encoder, expander;
};
/// The trained (not the averaged) ones of a checkpoint, to be computed on `device`.
NetworkPair load_pair(const std::filesystem::path& checkpoint, Device device);

struct StudyOptions {
  /// "vicreg=runs/v0,runs/v1": a group; without "name=" each path goes to the group of its
  /// objective. A path may be a pattern: "runs/vicreg-*", or what an earlier analysis has written
  /// of a network: "analysis/networks/*.json".
  std::vector<std::string> groups;
  std::vector<std::string> controls;  ///< of "untrained", "linear"
  std::int64_t control_seeds = 3;
  std::string data;  ///< JSON that replaces the data set of the first subject; empty: that one
  std::uint64_t seed = 0;
  Device device = kCpu;  ///< of the trained and untrained networks
};

class Study {
 public:
  /// Error for a path that holds no encoder, a group without paths, networks with different test
  /// views, the same training run twice in a group, or, in a group without a name of its own, runs
  /// that differ in more than their seed.
  explicit Study(const StudyOptions& options);

  std::uint64_t seed;
  Device device;
  std::vector<Subject> subjects;         ///< groups in the order given, then the controls
  std::optional<Experiment> experiment;  ///< of the first subject: data, views
  Json data, test_view, views;
  DatasetPtr train, test;

  /// The first n images of a fixed random order of the split, under the test view: [n, H, W, C],
  /// and their labels [n]. Error if there are fewer.
  struct Images {
    Tensor pixels, labels;
  };
  Images images(Split split, std::int64_t n) const;
  /// The same images in [0, 1], not normalised.
  Tensor raw_images(Split split, std::int64_t n) const;
  /// Two training views of them, the same for every network: the n first of the order.
  Tensors training_views(Split split, std::int64_t n) const;
  std::int64_t classes() const;

  /// Names of the groups that are no controls, in order.
  std::vector<std::string> trained_groups() const;
  /// Those of networks whose objective needs labels.
  std::set<std::string> supervised_groups() const;
  /// Encoder and expander of the first subject's configuration as training would start them with
  /// seed number i; batch-norm has the statistics of test images.
  NetworkPair untrained(std::uint64_t i) const;

 private:
  void add_controls(const StudyOptions& options);
  Tensors load_views(Split split, std::int64_t n, const std::vector<Pipeline>& views,
                     Tensor* labels = nullptr) const;
};

/// f of all images, in chunks, without history.
Tensor apply_in_chunks(const Network& f, const Tensor& images);

/// What readouts are fitted to: one_hot of labels [n], f64.
Tensor targets_of(const Tensor& labels, std::int64_t classes);

/// What random numbers are drawn for.
enum class Purpose : std::uint64_t {
  linear_control = 1,
  untrained = 2,
  views = 3,
  normality = 10,
  affine = 20,
  entropy = 40
};

/// A seed for the `index`-th draw of one purpose: the same for every network, so that they see the
/// same noise.
std::uint64_t seed_for(std::uint64_t seed, Purpose purpose, std::uint64_t index);

}  // namespace invar::app
