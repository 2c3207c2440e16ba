#pragma once
// Training: one self-supervised run, from wherever its directory says it is.
//
//   Loader --views--> Networks::online --embeddings--> Objective --loss--> backward, Optimizer
//              |                                           |
//              +-----> Networks::target --targets----------+   if the objective needs it; follows
//                                                              online as an average over steps
//
// Networks and batches are on training.device, which makes the views, too (data/loader.hpp). A
// checkpoint holds all of it: networks, objective (its parameters and state), target, optimiser,
// the averaged encoder, the random numbers' state and the step. It says nothing of the device.
//
// A GPU is never waited for in a step: its loss is read some steps later. With training.cuda_graph
// the forward and the backward pass are replayed as one piece of work (nn/step_graph.hpp).
#include <chrono>
#include <csignal>
#include <deque>
#include <filesystem>
#include <invar/autodiff/profiler.hpp>
#include <invar/core/progress.hpp>
#include <invar/data/loader.hpp>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/step_graph.hpp>
#include <invar/ops/pending_copy.hpp>
#include <invar/ssl/objective.hpp>
#include <optional>

#include "experiment.hpp"
#include "run_directory.hpp"

namespace invar::app {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What turns images into embeddings.
class Branch : public nn::Module {
 public:
  Branch(const Experiment& experiment, int channels)
      : encoder(experiment.make_encoder(channels)),
        expander(experiment.make_expander(encoder.num_features())) {}

  nn::ResNet encoder;
  nn::Sequential expander;

  struct Output {
    Tensors features, embeddings;  ///< one per view
  };
  /// `jointly`: all views in one batch, as batch-norm sees it.
  Output embed(const Tensors& views, bool jointly);

 private:
  void members(nn::Members& m) override;
};

/// All that has parameters: "encoder", "expander", "objective" and, if the objective needs it,
/// "target", a copy of encoder and expander that is averaged over training. The target is never
/// trained but stays in train mode: its batch-norms use the statistics of the batch, as in BYOL and
/// MoCo v3.
class Networks : public nn::Module {
 public:
  Networks(const Experiment& experiment, int channels);

  Branch online;
  std::unique_ptr<ssl::Objective> objective;
  std::optional<Branch> target;

 private:
  void members(nn::Members& m) override;
};

/// One step of an objective that is thrown away, on n random embeddings: throws what training with
/// such batches would throw in its first step.
void try_objective(const Experiment& experiment, std::int64_t n);

/// Test images that diagnostics look at along training: the same for every run of a configuration.
struct FixedImages {
  Tensor images;  ///< [n, H, W, C] under the test view
  Tensors views;  ///< two training views of each
  Tensor labels;  ///< [n]
};

class Training {
 public:
  /// `images` have labels if the objective needs them; `test` is for diagnostics on fixed images,
  /// null if there are none.
  Training(const Experiment& experiment, RunDirectory run, DatasetPtr images,
           const DatasetPtr& test);

  /// Lets the encoder look at black images of the views' shapes and of `seen`, as evaluation has
  /// them: throws what it would throw at the first image of each.
  void try_shapes(const ImageShape& seen);

  /// Goes on from the newest checkpoint, if there is one. Error unless it is of this configuration.
  void resume();

  /// True iff nothing is left to train.
  bool finished() const { return step_ == total_steps_; }

  /// Records five steps, once the first ones have made what is made once; the table of where their
  /// time went is printed, the trace goes to this file. A run with fewer steps says so.
  void profile(std::filesystem::path trace);

  /// Trains to the end, or until `stop` is set; true iff it got to the end. A stopped run has saved
  /// a checkpoint and told how to go on.
  bool run(const volatile std::sig_atomic_t& stop);

  /// The averaged encoder's batch-norm statistics are those of other weights: measures them anew,
  /// on images as evaluation sees them.
  void refresh_average(const DatasetPtr& images);

  /// What is evaluated: the averaged encoder if there is one.
  nn::ResNet& encoder() { return average_ ? average_->model() : networks_.online.encoder; }
  double train_seconds() const { return train_seconds_; }
  std::int64_t step() const { return step_; }

 private:
  /// A step whose loss has not been read yet.
  struct StartedStep {
    std::int64_t step;  ///< steps done with it
    double lr;
    std::vector<std::string> terms;
    PendingCopy numbers;  ///< f64: the loss, the terms
  };

  /// Starts one step; `diagnose`: with the diagnostics of its batch in the log.
  StartedStep start_step(bool diagnose);
  /// Of a batch; leaves the gradients in the networks.
  ssl::ObjectiveOutput loss_and_gradients(const Tensors& views, const Tensor& labels,
                                          bool diagnose);
  /// The same by a graph.
  ssl::ObjectiveOutput replayed_loss_and_gradients(const Batch& batch);
  void use_graph();
  /// Reads the losses of all steps but the last `keep` started ones, and logs them.
  void finish_steps(std::size_t keep, Progress& progress);
  void report_profile(Progress& progress);
  void log_step(const StartedStep& step);
  void log_diagnostics(const Branch::Output& output);
  /// The networks of this moment on the fixed images; leaves no trace in them.
  void log_fixed_diagnostics();
  void end_epoch(Progress& progress);
  void save(std::optional<double> score);
  nn::CheckpointParts parts();

  const Experiment& experiment_;
  const TrainingOptions& options_;
  RunDirectory run_;
  nn::CheckpointFolder checkpoints_;
  Loader loader_;
  std::optional<FixedImages> fixed_;
  Networks networks_;
  std::unique_ptr<nn::Optimizer> optimizer_;
  std::unique_ptr<nn::Schedule> schedule_;
  std::optional<nn::Ema<nn::ResNet>> average_;
  const std::optional<double> floor_;  ///< of the loss
  std::int64_t images_;                ///< to train on
  std::int64_t total_steps_;
  std::int64_t step_ = 0;  ///< steps started
  std::deque<StartedStep> started_;
  std::optional<nn::StepGraph> graph_;
  std::vector<std::string> terms_;  ///< names of the objective's, as graph_ has seen them
  double epoch_loss_ = 0;  ///< of the steps of the current epoch so far, over all its steps
  double train_seconds_ = 0;
  Profiler profiler_;
  std::optional<std::filesystem::path> trace_;
};

}  // namespace invar::app
