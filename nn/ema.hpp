#pragma once
// Averages of a model over training.
//
//   nn::Ema<nn::ResNet> average(encoder, 0.99);         a copy that follows
//   ...  optimizer.step(); average.update(encoder);
//   evaluate(average.model());
//
// The average is in eval mode, requires no gradient, and is a module like any other: a checkpoint
// stores it as one. Its running statistics are copies of the model's latest ones, which belong to
// other weights than the averaged ones; update_bn measures them anew.
#include <functional>
#include <invar/nn/module.hpp>

namespace invar::nn {

/// average = decay average + (1 - decay) model for every parameter; buffers are copied. Both must
/// have the same members.
void ema_update_(Module& average, const Module& model, double decay);

template <class M>
class Ema {
 public:
  /// Starts as a copy of the model.
  Ema(const M& model, double decay) : average_(model) {
    set_decay(decay);
    average_.requires_grad_(false).eval();
  }

  /// To be called after each step of the optimiser.
  void update(const M& model) { ema_update_(average_, model, decay_); }
  void set_decay(double decay) {
    check(decay >= 0 && decay <= 1, "Ema", "expected a decay in [0, 1], got {}", decay);
    decay_ = decay;
  }
  double decay() const { return decay_; }
  M& model() { return average_; }

 private:
  M average_;
  double decay_;
};

/// Sets the running statistics of all batch-norms to the averages over the given batches, each with
/// equal weight; `next_batch` returns an undefined tensor at the end. Modes and momenta are as
/// before afterwards.
void update_bn(Module& model, const std::function<Tensor()>& next_batch);

}  // namespace invar::nn
