#pragma once
// Losses: what is minimised. Formulas and defaults are PyTorch's; the classes of cross_entropy lie
// along the last dimension, where channels lie everywhere in this library.
#include <invar/core/tensor.hpp>

namespace invar {

/// What becomes of the losses of the single elements.
enum class LossReduction { none, mean, sum };

/// (x - target)^2. The shapes must be equal.
Tensor mse_loss(const Tensor& x, const Tensor& target,
                LossReduction reduction = LossReduction::mean);

struct CrossEntropyOptions {
  Tensor weight = {};                ///< w [C], of each class, in the logits' dtype; undefined: 1
  std::int64_t ignore_index = -100;  ///< a target that counts for nothing
  LossReduction reduction = LossReduction::mean;
  double label_smoothing = 0;  ///< s: 1 - s for the target, s / C for every class
};

/// With p = softmax of logits [..., C], targets t [...] (i64, in [0, C) or ignore_index):
///   loss = -(1 - s) w_t log p_t - s / C sum_c w_c log p_c
/// mean: the sum over the sum of w_t. NaN if every target is ignored.
Tensor cross_entropy(const Tensor& logits, const Tensor& target,
                     const CrossEntropyOptions& options = {});

}  // namespace invar
