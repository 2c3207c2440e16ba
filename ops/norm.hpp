#pragma once
// Normalisation and dropout. Names, formulas and defaults are PyTorch's; gradients of any order.
// All arguments are of the input's dtype, but that parameters and running statistics may be (and
// should be) f32 where it is bf16: the arithmetic is in f32 then, and results are rounded.
#include <invar/core/random.hpp>
#include <invar/core/tensor.hpp>

namespace invar {

struct BatchNormOptions {
  bool training = true;   ///< normalise by the batch's statistics, not by the running ones
  double momentum = 0.1;  ///< weight of the batch in the running statistics
  double eps = 1e-5;
};

/// Normalises every channel (the last dimension) of x [N, ..., C] over all other dimensions:
///
///   y = (x - mean) / sqrt(var + eps) weight + bias
///
/// Training: mean and var (the biased variance, divided by the number m of values) are those of x,
/// m must be at least 2, and the running statistics, where given, move:
///
///   running_mean = (1 - momentum) running_mean + momentum mean
///   running_var  = (1 - momentum) running_var  + momentum var m / (m - 1)
///
/// Not training: mean and var are the running statistics (constants for the gradient). All four
/// tensors are [C]. `weight` and `bias` may be undefined (1 and 0), the running
/// statistics too when training. An empty batch gives an empty result and moves nothing.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight = {}, const Tensor& bias = {},
                  const BatchNormOptions& options = {});

/// max(batch_norm(x, ...) + residual, 0) with fewer passes over memory; `residual`, of x's shape,
/// may be undefined (0). The numbers are those of relu(batch_norm(x, ...) + residual), bit by bit
/// (in bf16: but for one rounding instead of two), and so are the gradients; that of relu is 0
/// where its result is 0.
Tensor batch_norm_relu(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                       const Tensor& weight = {}, const Tensor& bias = {},
                       const BatchNormOptions& options = {}, const Tensor& residual = {});

/// Layer normalisation: as batch_norm, but over the last dimensions, of sizes `normalized_shape`,
/// for each index of the others; `weight` and `bias` have that shape and may be undefined.
Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight = {},
                  const Tensor& bias = {}, double eps = 1e-5);

/// Each element is 0 with probability p, else x / (1 - p); x itself if not training. Element i is
/// dropped iff random_bernoulli(seed, offset, i, 1 - p) is false (core/philox.hpp).
Tensor dropout(const Tensor& x, double p = 0.5, bool training = true,
               Generator& generator = default_generator());

}  // namespace invar
