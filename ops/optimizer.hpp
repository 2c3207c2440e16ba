#pragma once
// What optimisers do to their parameters, in one pass over memory, in place, and for a whole model
// in one call. The optimisers themselves (groups, state, options) are in nn/optim.
//
// Each function takes lists: entry i of every list belongs to parameter i. The tensors of an entry
// are dense and have one shape and dtype (f32 or f64); arithmetic is in that dtype, norms in f64.
// The bits do not depend on the number of threads.
#include <cstdint>
#include <invar/core/tensor.hpp>
#include <vector>

namespace invar {

/// How LARS scales the update d = g + weight_decay p by a ratio q of norms (see trust_ratio).
enum class LarsVariant { none, official, clipped };

struct SgdStep {
  double lr = 0;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  bool first = false;  ///< the momentum buffer holds nothing yet: it becomes d, undamped
  LarsVariant lars = LarsVariant::none;
  double eta = 0;  ///< of LARS
};

/// d = g + weight_decay p, scaled by LARS's ratio
/// m = momentum m + (1 - dampening) d;  d = m, or d + momentum m with Nesterov
/// p = p - lr d
/// m may be undefined where step.momentum is 0. `norms` is what lars_norms gave, undefined if no
/// step is LARS's. g is left as it is.
void sgd_step_(const Tensors& parameters, const Tensors& gradients, const Tensors& momenta,
               const std::vector<SgdStep>& steps, const Tensor& norms = {});

/// The squared norms that LARS needs, f64 [2, n]: of p, and of g + weight_decay p for the official
/// variant or g for the clipped one. They stay on the device.
Tensor lars_norms(const Tensors& parameters, const Tensors& gradients,
                  const std::vector<SgdStep>& steps);

struct AdamStep {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = true;   ///< AdamW; false: the decay is added to the gradient
  std::int64_t count = 1;  ///< of this step, from 1
};

/// p = (1 - lr weight_decay) p  if decoupled, else g = g + weight_decay p
/// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
/// p = p - lr / (1 - beta1^count) m / (sqrt(v / (1 - beta2^count)) + eps)
void adam_step_(const Tensors& parameters, const Tensors& gradients, const Tensors& means,
                const Tensors& squares, const std::vector<AdamStep>& steps);

/// x = x + weight (y - x).
void lerp_(const Tensors& xs, const Tensors& ys, double weight);

/// The sum of |x|^2 over all tensors, a scalar in f64 (0 if there are none). No history.
Tensor squared_norm(const Tensors& tensors);

}  // namespace invar
