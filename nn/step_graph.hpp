#pragma once
// StepGraph: the forward and backward pass of a training step as one piece of work for a GPU
// (core/cuda/graph.hpp), so that the CPU starts it by one call in the place of one per kernel.
//
//   nn::StepGraph step(network, [&](const Tensors& batch) -> Tensors {
//     const Tensor loss = loss_of(network, batch);
//     loss.backward();
//     return {loss.detach()};
//   });
//   for (...) {
//     optimizer.set_lr(schedule.lr(i));
//     const Tensor loss = step(batch)[0];      // gradients dropped, then made
//     nn::clip_grad_norm_(network.parameters(), 1);
//     optimizer.step();
//   }
//
// The first calls run the function as it is, and so make what is made once: the plans of
// convolutions, memory. The next one records it; it and the later ones copy their inputs to where
// the recorded ones were and replay. Values, gradients, running statistics, random numbers and
// version counters are those of the function itself.
//
// What the function takes from the host is what it was when it was recorded: it must not depend on
// the step's number. The optimiser therefore stays outside: its rate, step counts and decay change
// from step to step, and its few kernels are started while the GPU still replays.
//
// A call runs the function as it is, too, where a replay would not do the same: on the CPU, with
// inputs of other shapes (a last batch), in eval mode, with a module in another mode or a parameter
// frozen or unfrozen since it was recorded, under a profiler or anomaly mode, and with hooks on
// parameters. (Other hooks that the function sets run once, while it is recorded.)
#include <functional>
#include <invar/core/cuda/graph.hpp>
#include <invar/nn/module.hpp>
#include <memory>
#include <string>
#include <vector>

namespace invar::nn {

class StepGraph {
 public:
  /// From the inputs (dense, without history) to values without history; leaves gradients in the
  /// module's parameters.
  using Function = std::function<Tensors(const Tensors& inputs)>;

  /// `module` holds all parameters and buffers that the function reads or changes, and lives
  /// longer.
  StepGraph(Module& module, Function function, int warm_up = 3);

  /// Drops all gradients of the module and calls the function or replays it. What a replay returns
  /// is overwritten by the next call.
  Tensors operator()(const Tensors& inputs);

  bool is_recorded() const { return graph_ != nullptr; }
  /// Why the function cannot be recorded; empty as long as nothing is known against it.
  const std::string& refusal() const { return refusal_; }

 private:
  bool can_replay(const Tensors& inputs) const;
  void record(const Tensors& inputs);
  Tensors run(const Tensors& inputs);
  /// Of every module, whether it trains; of every parameter, whether it requires grad.
  std::vector<bool> switches() const;

  Module& module_;
  Function function_;
  int warm_up_;  ///< calls yet to be made before recording
  std::string refusal_;
  std::unique_ptr<cuda::Graph> graph_;
  std::vector<bool> switches_;                        ///< when it was recorded
  Tensors inputs_, outputs_;                          ///< of the recorded call
  std::vector<std::pair<Tensor, Tensor>> gradients_;  ///< of parameters, by the recorded call
  Tensors written_;                                   ///< of the module's tensors
};

}  // namespace invar::nn
