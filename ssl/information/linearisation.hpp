#pragma once
// A network as an affine map around each sample, and how far that holds.
//
// A ReLU network (affine layers, ReLU, max-pooling, batch-norm in eval mode) is continuous and
// piecewise affine: inside a region of inputs with the same active units f(x') = f(x) + J (x' - x)
// with J = df/dx at x. So an input N(x, Sigma) that stays in one region comes out as
//
//   N(f(x), J Sigma J^T)                     output_covariance
//
// Whether it stays is another matter:          activation_pattern, flip_rate, linearisation_error
//
// f maps a batch [n, ..] to [n, ..] and treats every sample by itself (a module in eval mode:
// `[&](const Tensor& x) { return net(x); }`); in train mode batch-norm mixes the samples and all of
// this is wrong without notice. f32 and f64; nothing here leaves gradients in f's parameters.
#include <cstdint>
#include <functional>
#include <invar/core/random.hpp>
#include <invar/core/tensor.hpp>

namespace invar::ssl {

using SampleFunction = std::function<Tensor(const Tensor&)>;

/// J_i = d f(x)_i / d x_i for every sample: [n, k, D], k and D the numbers of elements of an output
/// and an input. One backward pass per output element, for all samples at once.
Tensor sample_jacobians(const SampleFunction& f, const Tensor& x);

struct OutputCovarianceOptions {
  double sigma = 1;    ///< Sigma = sigma^2 A A^T
  Tensor factor = {};  ///< A [D, r] of x's dtype; undefined: the identity
  /// 0: all of J Sigma J^T, k backward passes, [n, k, k]. p > 0: P J Sigma J^T P^T, [n, p, p], for
  /// one random P [p, k] with entries N(0, 1/p), so that the trace is right on average; p backward
  /// passes, for outputs too wide for k.
  std::int64_t projections = 0;
};

/// J_i Sigma J_i^T of every sample, without beta I (see Note [Noise is needed] in conditional.hpp).
Tensor output_covariance(const SampleFunction& f, const Tensor& x,
                         const OutputCovarianceOptions& options = {},
                         Generator& generator = default_generator());

/// Which piece of the piecewise affine f each sample lies on.
struct ActivationPattern {
  Tensors masks;   ///< one per rectifier, in order of execution: true iff its output is positive
  Tensors argmax;  ///< one per max-pooling: the position in its map that won
};

/// Observes relu, leaky_relu (masks), batch_norm_relu and max_pool2d while f runs at x. A profiler
/// of this thread sees nothing of that run.
ActivationPattern activation_pattern(const SampleFunction& f, const Tensor& x);

/// The share of rectifiers whose mask differs between x_i and other_i: [n], f64. Error if f has
/// none.
Tensor flip_rate(const SampleFunction& f, const Tensor& x, const Tensor& other);

/// True where x_i and other_i have the same masks and the same winners: the same affine piece (with
/// leaky_relu and relu as the only non-linearities). [n] booleans.
Tensor same_region(const SampleFunction& f, const Tensor& x, const Tensor& other);

/// |f(x') - f(x) - J (x' - x)| / |f(x') - f(x)| of every pair: [n]. 0 in the same region; NaN where
/// nothing changes.
Tensor linearisation_error(const SampleFunction& f, const Tensor& x, const Tensor& other);

}  // namespace invar::ssl
