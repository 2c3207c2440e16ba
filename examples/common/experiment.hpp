#pragma once
// Experiment: a JSON configuration, checked and turned into objects. All of it is read up front, so
// a misspelt key stops a program before it starts, but for two: the data set's options are read
// with its files, the objective's where it is made, since evaluate need not know one of a program's
// own. docs/configuration.md has every key, and a test that keeps it so.
//
//   {"seed": 0,
//    "data":       {"name": "fashion_mnist"},                  data/dataset.hpp
//    "views":      [[{"name": "RandomResizedCrop", ...}], ..],  data/transforms.hpp; one list: both
//    "test_view":  [{"name": "Normalize", ...}],               what evaluation sees
//    "encoder":    {"name": "resnet18", "stem": "cifar", "width": 16},
//    "expander":   {"layers": [512, 512, 512]},
//    "objective":  {"name": "vicreg"},                         ssl/objective.hpp
//    "optimizer":  {"name": "adamw", "lr": 3e-3, "weight_decay": 1e-4},
//    "schedule":   {"warmup_steps": 100},
//    "training":   {"batch_size": 256, "epochs": 10, "ema_decay": 0.99, "precision": "f32",
//                    "device": "cpu"},
//    "checkpoints": {"every_steps": 0, "keep": 2},
//    "diagnostics": {"every_steps": 100, "of": ["rankme"], "images": 0},
//                                                              ssl/information/diagnostics.hpp
//    "evaluation": {"baselines": true}}
#include <invar/core/json_reader.hpp>
#include <invar/data/dataset.hpp>
#include <invar/data/pipeline.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/optimizer.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/conv_choices.hpp>
#include <invar/ssl/evaluation.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objective.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <variant>

namespace invar::app {

struct TrainingOptions {
  std::int64_t batch_size = 256;
  std::int64_t epochs = 10;
  /// false: the encoder runs once per view, as in the authors' code, and batch-norm sees each view
  /// alone. true: once on all views together. The two are different methods.
  bool joint_views = false;
  /// Decay of the averaged copy of the encoder that is evaluated; 0: none, the trained one is.
  double ema_decay = 0;
  /// "auto", "direct" or "winograd" in the configuration.
  ConvAlgorithm conv_algorithm = ConvAlgorithm::automatic;
  /// What the program `tune` has found (common/tuning.hpp): a list, or the name of its file, which
  /// pretrain puts the list in the place of.
  ConvChoices conv_choices;
  /// "f32" or "bf16" in the configuration: what the networks run under (ops/autocast.hpp).
  DType precision = DType::f32;
  /// "cpu", "cuda" or "cuda:N" in the configuration: where networks and batches are.
  Device device = kCpu;
  bool cuda_graph = false;     ///< on a GPU: steps are recorded and replayed (nn/step_graph.hpp)
  bool views_on_gpu = true;    ///< false: a GPU leaves the views to the CPU (data/loader.hpp)
  bool allow_tf32 = false;     ///< on a GPU, for what is f32 (ops/cuda/settings.hpp)
  bool deterministic = false;  ///< on a GPU: the same bits from run to run (the same header)
  bool benchmark = false;      ///< on a GPU: convolutions are chosen by timing (the same header)
  /// On a GPU: MiB that one convolution or product may use beside its operands (the same header).
  std::int64_t workspace_mb = 256;
  double clip_grad_norm = 0;    ///< 0: no clipping
  int workers = -1;             ///< of the loader; -1: its choice
  std::int64_t log_every = 20;  ///< steps between two lines of metrics
};

struct CheckpointOptions {
  std::int64_t every_steps = 0;  ///< 0: once per epoch
  int keep = 2;
};

/// Numbers to log in the first and in every so many steps, of features and embeddings.
struct DiagnosticsOptions {
  std::int64_t every_steps = 100;
  std::vector<std::string> of;  ///< names of ssl/information/diagnostics.hpp, and "bound"
  /// 0: of the step's batch. n: of the n first test images of a fixed order, by the networks in
  /// eval mode; then the local diagnostics and "bound" are to be had, too.
  std::int64_t images = 0;
  double sigma = 0.1;  ///< of the noise on the normalised input, for the local ones
};

struct EvaluationOptions {
  bool baselines = false;  ///< raw pixels and the untrained network as well
  /// So many training images (the same ones for every seed) are kept out of training and stand in
  /// for the test split: to choose settings without looking at test images. 0: none.
  std::int64_t held_out = 0;
  ssl::KnnOptions knn;
  ssl::LinearProbeOptions linear;
};

struct EncoderOptions {
  int depth;
  nn::ResNetOptions resnet;  ///< but for the number of input channels, which the data decides
};

struct OptimizerOptions {
  std::variant<nn::SGDOptions, nn::LARSOptions, nn::AdamOptions, nn::AdamWOptions> options;
  double lr;
  bool exclude_1d;  ///< biases and norms do not decay
};

struct ScheduleOptions {
  bool constant = false;
  nn::WarmupCosineOptions cosine;  ///< but for the number of steps, which the data decides
  std::int64_t warmup_epochs = 0;  ///< instead of its warmup_steps
};

/// Error if this build or this machine does not have the device.
void check_device(Device device);
/// The device of that name, checked.
Device usable_device(const std::string& name);

class Experiment {
 public:
  /// Checks names and keys; whether the device exists here is for those who use it, and what data
  /// and objective are made of for those who make them.
  explicit Experiment(const Json& config);

  DatasetPtr load(Split split) const;
  nn::ResNet make_encoder(int channels) const;
  nn::Sequential make_expander(std::int64_t features) const;
  /// For embeddings as wide as the expander's last layer.
  std::unique_ptr<ssl::Objective> make_objective() const;
  std::int64_t embedding_dim() const { return expander_.layers.back(); }
  std::unique_ptr<nn::Optimizer> make_optimizer(const nn::Module& model) const;
  std::unique_ptr<nn::Schedule> make_schedule(std::int64_t steps_per_epoch) const;

  std::uint64_t seed;
  std::vector<Pipeline> views;
  Pipeline test_view;
  TrainingOptions training;
  CheckpointOptions checkpoints;
  DiagnosticsOptions diagnostics;
  EvaluationOptions evaluation;

 private:
  Json data_, objective_;
  EncoderOptions encoder_;
  ssl::ExpanderOptions expander_;
  OptimizerOptions optimizer_;
  ScheduleOptions schedule_;
};

}  // namespace invar::app
