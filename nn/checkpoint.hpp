#pragma once
// Checkpoints: everything that a run needs to go on bit by bit, in one safetensors file, so that
// replacing it is atomic (core/file.hpp).
//
//   tensors    "encoder.conv1.weight"                                the model: state_dict()
//              "ema/encoder.conv1.weight"                            its average
//              "optimizer/momentum_buffer/encoder.conv1.weight"      the optimiser
//   metadata   "invar.checkpoint": JSON {"version": 1, "step", "epoch", "score", "generator":
//              {"seed", "offset"}, "optimizer": {"kind", "numbers"}}; what is absent is left out
//              "config", ...: whatever text the program adds
//
// Names, shapes and layouts are PyTorch's: Python reads the model as the tensors whose names
// have no '/'. Saving and restoring:
//
//   nn::CheckpointParts parts{.model = &model, .optimizer = &optimizer, .ema = &average.model()};
//   nn::save_checkpoint("runs/a/last.safetensors", parts, {.step = step, .epoch = epoch});
//   nn::TrainingState at = nn::load_checkpoint("runs/a/last.safetensors", parts);
//
// Part of a file: select(read_model("last.safetensors"), "encoder.") is the encoder's state dict.
#include <cstdint>
#include <filesystem>
#include <invar/core/random.hpp>
#include <invar/nn/module.hpp>
#include <invar/nn/optim/optimizer.hpp>
#include <map>
#include <optional>

namespace invar::nn {

/// What is saved and restored; null: left alone.
struct CheckpointParts {
  Module* model = nullptr;
  Optimizer* optimizer = nullptr;
  Module* ema = nullptr;
  Generator* generator = &default_generator();
};

/// How far a run has come.
struct TrainingState {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  std::optional<double> score = {};  ///< of CheckpointFolder: the larger the better
  Metadata metadata = {};            ///< the program's own: {"config": JSON text}
};

/// Replaces `path` atomically.
void save_checkpoint(const std::filesystem::path& path, const CheckpointParts& parts,
                     const TrainingState& state);

/// Restores the parts and returns the rest. The file must hold every part that is asked for, and
/// each must fit; parts of the file that are not asked for are skipped. After an Error nothing was
/// changed.
TrainingState load_checkpoint(const std::filesystem::path& path, const CheckpointParts& parts);

/// What load_checkpoint returns, without reading tensors.
TrainingState read_training_state(const std::filesystem::path& path);

/// The state dict of the model, or of its average. Any safetensors file will do for the model.
StateDict read_model(const std::filesystem::path& path, bool ema = false);

/// The checkpoints of one run: the latest few, and the best.
///
///   step-000012000.safetensors   the last `keep_last` of them
///   best.safetensors             the one with the largest score
///
/// One process at a time saves to a folder, and removes the temporary files that a killed one left
/// of these, and nothing else. The first save makes the folder.
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path folder, int keep_last = 2);

  /// Saves step-<state.step>, and best if state.score is larger than that of all before; then
  /// removes what is not to be kept.
  void save(const CheckpointParts& parts, const TrainingState& state) const;
  /// The checkpoint with the largest step; nullopt if there is none.
  std::optional<std::filesystem::path> latest() const;
  std::optional<std::filesystem::path> best() const;
  /// All step-* files by step.
  std::map<std::int64_t, std::filesystem::path> steps() const;

 private:
  std::filesystem::path folder_;
  int keep_last_;
};

}  // namespace invar::nn
