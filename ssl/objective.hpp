#pragma once
// Objective: what self-supervised training minimises. Embeddings of two or more views of a batch go
// in, a loss and its named terms come out:
//
//   images --augment--> views --encoder--> features --expander--> embeddings --Objective--> loss
//                         |                                           |
//                         +--> averaged encoder and expander --> targets (for those that need them)
//
// An objective is a module: what it trains (a predictor, prototypes) is a parameter, what it
// remembers from step to step (a running covariance) a buffer, and both are in the checkpoint
// without further ado. One of your own is a class with one function:
//
//   class Attract : public ssl::Objective {
//    public:
//     Attract() : Objective("attract") {}
//
//    private:
//     ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch& batch) override {
//       return {mse_loss(batch.embeddings[0], batch.embeddings[1]), {}};
//     }
//   };
//   ssl::register_objective("attract", [](JsonReader&, std::int64_t) {
//     return std::make_unique<Attract>();
//   });                                                  {"objective": {"name": "attract"}}
//
// docs/objectives.md walks through a larger one and lists those that come with the library.
//
// Note [One batch]: an objective takes all rows that it is given for one batch. Where several
// processes train together they gather their embeddings, targets and labels (with gradients) first,
// so n is the global batch, and every process computes the same loss. Nothing here may depend on
// which process it runs in: random numbers come from default_generator(), in the same state
// everywhere.
#include <functional>
#include <invar/core/json_reader.hpp>
#include <invar/core/tensor.hpp>
#include <invar/nn/module.hpp>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace invar::ssl {

/// One step of training as an objective sees it. Row i of every tensor comes from image i.
struct EmbeddedBatch {
  Tensors embeddings;    ///< [n, d], one per view
  Tensors targets = {};  ///< of the same views by the averaged networks: [n, d], without history
  Tensor labels = {};    ///< [n], i64
  double epoch = 0;      ///< epochs trained before this step; 1.5: half of the second is over
  double progress = 0;   ///< the same as a part of the whole training, in [0, 1)
};

struct ObjectiveOutput {
  Tensor loss;  ///< scalar; what backward starts from
  /// The loss's parts before weighting, scalars without history, for logging.
  std::vector<std::pair<std::string, Tensor>> terms;
};

/// Error, opened by the objective's name, unless the names of the terms differ from each other and
/// from those `taken`: for a program that logs them beside numbers of its own.
void check_term_names(const std::string& objective, const ObjectiveOutput& output,
                      std::set<std::string> taken);

class Objective : public nn::Module {
 public:
  /// What of a batch it uses beside embeddings.
  struct Needs {
    bool targets = false;
    bool labels = false;
    bool epoch = false;  ///< `epoch` and `progress`: its formula changes along the training
  };

  /// Computed in f32 (f64 if the embeddings are f64), with autocast off: bf16 embeddings and
  /// targets are converted.
  ///
  /// Error unless there are embeddings of at least two views, all of one shape [n, d] with n >= 2
  /// and d >= 1 and of one floating dtype, and what the objective needs beside them. A module's
  /// modes apply: in eval mode buffers are used but not changed.
  ///
  /// Error, too, if what it computes is not a loss of one number and terms of one number each,
  /// under names that differ.
  ObjectiveOutput operator()(const EmbeddedBatch& batch);
  ObjectiveOutput operator()(const Tensors& embeddings) {
    return (*this)(EmbeddedBatch{.embeddings = embeddings});
  }

  const std::string& name() const { return name_; }
  Needs needs() const { return needs_; }

  /// Weight of the averaged networks, which make the targets, in their update after the step that
  /// is taken at `progress`: average = decay average + (1 - decay) trained.
  virtual double target_decay(double progress) const;

  /// The least loss that embeddings [n, d] can have, to be logged beside the loss; nullopt where it
  /// is not known.
  virtual std::optional<double> floor(std::int64_t n, std::int64_t d) const;

 protected:
  /// `name` opens the error messages.
  explicit Objective(std::string name) : Objective(std::move(name), Needs()) {}
  Objective(std::string name, Needs needs) : name_(std::move(name)), needs_(needs) {}

 private:
  /// The loss of a batch that has been checked.
  virtual ObjectiveOutput compute(const EmbeddedBatch& batch) = 0;

  std::string name_;
  Needs needs_;
};

/// Makes an objective from its options (all of the JSON object but the name, which is
/// options.where() and opens the error messages); `dim` is the width d of the embeddings.
using ObjectiveMaker =
    std::function<std::unique_ptr<Objective>(JsonReader& options, std::int64_t dim)>;

/// Makes an objective of your own known by name, before the configuration is read. Error if the
/// name is taken. Not for two threads at once.
void register_objective(const std::string& name, ObjectiveMaker maker);

/// {"name": "vicreg", ...options of the objective}. Unknown names and keys are an Error that names
/// the nearest one that exists. Initial values come from default_generator().
std::unique_ptr<Objective> make_objective(const Json& config, std::int64_t dim);

/// In alphabetical order.
std::vector<std::string> objective_names();

}  // namespace invar::ssl
