#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {

Tensor clip_grad_norm_(const Tensors& parameters, double max_norm) {
  check(max_norm >= 0, "clip_grad_norm_", "expected max_norm >= 0, got {}", max_norm);
  NoGrad guard;
  Tensors gradients;
  for (const Tensor& p : parameters) {
    if (const Tensor gradient = p.grad(); gradient.defined()) gradients.push_back(gradient);
  }
  const Tensor norm = sqrt(squared_norm(gradients));
  const Tensor factor = minimum(max_norm / (norm + 1e-6), full({}, 1, norm.options()));
  for (const Tensor& gradient : gradients) mul_(gradient, factor);
  return norm;
}

}  // namespace invar::nn
