#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/optimizer.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

/// Throws Error unless the state tensor `x` is dense and of p's shape, dtype and device.
void check_like(const char* op, const char* what, const Tensor& p, const Tensor& x) {
  check(x.shape() == p.shape() && x.dtype() == p.dtype() && x.device() == p.device(), op,
        "expected a {} like the parameter ({} {} on {}), got {} {} on {}", what, p.dtype(),
        p.shape(), p.device(), x.dtype(), x.shape(), x.device());
  check(x.is_contiguous(), op, "expected a dense {}, got shape {} with strides {}", what, x.shape(),
        x.strides());
}

/// The gradient as the kernels want it.
Tensor checked_gradient(const char* op, const Tensor& p, const Tensor& gradient) {
  check_in_place(p, gradient.requires_grad(), op);
  check_like(op, "parameter", p, p);
  const Tensor g = contiguous(gradient.detach());
  check_like(op, "gradient", p, g);
  return g;
}

}  // namespace

void sgd_step_(const Tensor& parameter, const Tensor& gradient, const Tensor& momentum,
               const SgdStep& step, const Tensor& norms) {
  constexpr const char* kOp = "sgd_step_";
  const Tensor g = checked_gradient(kOp, parameter, gradient);
  check(momentum.defined() || step.momentum == 0, kOp,
        "expected a momentum buffer for momentum = {}, got none", step.momentum);
  if (momentum.defined()) check_like(kOp, "momentum buffer", parameter, momentum);
  check(norms.defined() == (step.lars != LarsVariant::none), kOp,
        "expected norms with LARS and only then: see lars_norms");
  kernel(&Kernels::sgd_step, parameter.device(), kOp)(step, parameter, g, momentum, norms);
  parameter.bump_version();
  if (momentum.defined()) momentum.bump_version();
}

Tensor lars_norms(const Tensor& parameter, const Tensor& gradient, const SgdStep& step) {
  const auto norm = kernel(&Kernels::squared_norm, parameter.device(), "lars_norms");
  const Tensor p = contiguous(parameter.detach()), g = contiguous(gradient.detach());
  check_like("lars_norms", "gradient", p, g);
  Tensor out = empty({2}, {.dtype = DType::f64, .device = p.device()});
  norm(p, 0, {}, alias(out, {}, {}, 0));
  const bool decays = step.lars == LarsVariant::official && step.weight_decay != 0;
  norm(g, step.weight_decay, decays ? p : Tensor(), alias(out, {}, {}, 1));
  return out;
}

void adam_step_(const Tensor& parameter, const Tensor& gradient, const Tensor& mean,
                const Tensor& square, const AdamStep& step) {
  constexpr const char* kOp = "adam_step_";
  const Tensor g = checked_gradient(kOp, parameter, gradient);
  check_like(kOp, "first moment", parameter, mean);
  check_like(kOp, "second moment", parameter, square);
  check(step.count >= 1, kOp, "expected a step count from 1, got {}", step.count);
  kernel(&Kernels::adam_step, parameter.device(), kOp)(step, parameter, g, mean, square);
  for (const Tensor* t : {&parameter, &mean, &square}) t->bump_version();
}

Tensor lerp_(const Tensor& x, const Tensor& y, double weight) {
  check_in_place(x, y.requires_grad(), "lerp_");
  const Tensor to = contiguous(y.detach());
  check_like("lerp_", "target", x, x);
  check_like("lerp_", "operand", x, to);
  kernel(&Kernels::lerp, x.device(), "lerp_")(weight, x, to);
  x.bump_version();
  return x;
}

Tensor squared_norm(const Tensors& tensors) {
  const Device device = tensors.empty() ? kCpu : tensors[0].device();
  Tensor parts =
      empty({static_cast<std::int64_t>(tensors.size())}, {.dtype = DType::f64, .device = device});
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    common_device("squared_norm", {parts, tensors[i]});
    kernel(&Kernels::squared_norm, device, "squared_norm")(
        contiguous(tensors[i].detach()), 0, {}, alias(parts, {}, {}, static_cast<std::int64_t>(i)));
  }
  return sum(parts);
}

}  // namespace invar
