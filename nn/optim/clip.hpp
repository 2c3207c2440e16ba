#pragma once
// Gradient clipping.
#include <invar/core/tensor.hpp>

namespace invar::nn {

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm is the L2 norm of all
/// gradients together; returns that norm (a scalar, f64), which stays on the device. Parameters
/// without a gradient are skipped. If the norm is not finite, neither are the gradients afterwards.
Tensor clip_grad_norm_(const Tensors& parameters, double max_norm);

}  // namespace invar::nn
