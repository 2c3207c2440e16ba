#include <invar/ops/convert.hpp>
#include <invar/ops/in_place.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/optimizer.hpp>
#include <invar/ops/reduce.hpp>

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

/// Throws Error unless there is one entry per parameter.
void check_count(const char* op, const char* what, std::size_t parameters, std::size_t count) {
  check(count == parameters, op, "expected {} {}, one per parameter, got {}", parameters, what,
        count);
}

/// What a step reads, gradients for the most part, dense as the kernels want them.
Tensors checked_operands(const char* op, const Tensors& parameters, const Tensors& gradients,
                         const char* what = "gradient") {
  check_count(op, "operands", parameters.size(), gradients.size());
  Tensors dense;
  dense.reserve(gradients.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    check_in_place(parameters[i], gradients[i].requires_grad(), op);
    check(parameters[i].device() == parameters[0].device(), op,
          "expected all parameters on one device, got {} and {}", parameters[0].device(),
          parameters[i].device());
    check_real(op, parameters[i].dtype());
    check_like(op, "parameter", parameters[i], parameters[i]);
    dense.push_back(contiguous(gradients[i].detach()));
    check_like(op, what, parameters[i], dense.back());
  }
  return dense;
}

void check_buffers(const char* op, const char* what, const Tensors& parameters,
                   const Tensors& buffers) {
  check_count(op, what, parameters.size(), buffers.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    check_like(op, what, parameters[i], buffers[i]);
  }
}

void bump_versions(const Tensors& tensors) {
  for (const Tensor& t : tensors) {
    if (t.defined()) t.bump_version();
  }
}

}  // namespace

void sgd_step_(const Tensors& parameters, const Tensors& gradients, const Tensors& momenta,
               const std::vector<SgdStep>& steps, const Tensor& norms) {
  constexpr const char* kOp = "sgd_step_";
  const Tensors g = checked_operands(kOp, parameters, gradients);
  check_count(kOp, "momentum buffers", parameters.size(), momenta.size());
  check_count(kOp, "steps", parameters.size(), steps.size());
  if (parameters.empty()) return;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    check(momenta[i].defined() || steps[i].momentum == 0, kOp,
          "expected a momentum buffer for momentum = {}, got none", steps[i].momentum);
    if (momenta[i].defined()) check_like(kOp, "momentum buffer", parameters[i], momenta[i]);
    check(norms.defined() || steps[i].lars == LarsVariant::none, kOp,
          "expected norms with LARS: see lars_norms");
  }
  const Device device = parameters[0].device();
  if (norms.defined()) {
    const Dims shape{2, static_cast<std::int64_t>(parameters.size())};
    check(norms.shape() == shape && norms.dtype() == DType::f64 && norms.device() == device, kOp,
          "expected norms f64 {} on {}, got {} {} on {}: see lars_norms", shape, device,
          norms.dtype(), norms.shape(), norms.device());
    check(norms.is_contiguous(), kOp, "expected dense norms, got strides {}", norms.strides());
  }
  kernel(&Kernels::sgd_step, device, kOp)(steps, parameters, g, momenta, norms);
  bump_versions(parameters);
  bump_versions(momenta);
}

Tensor lars_norms(const Tensors& parameters, const Tensors& gradients,
                  const std::vector<SgdStep>& steps) {
  constexpr const char* kOp = "lars_norms";
  check_count(kOp, "gradients", parameters.size(), gradients.size());
  check_count(kOp, "steps", parameters.size(), steps.size());
  const std::size_t n = parameters.size();
  Tensors x(2 * n), y(2 * n);
  std::vector<double> factors(2 * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    check_real(kOp, parameters[i].dtype());
    x[i] = contiguous(parameters[i].detach());
    x[n + i] = contiguous(gradients[i].detach());
    check_like(kOp, "gradient", x[i], x[n + i]);
    if (steps[i].lars == LarsVariant::official && steps[i].weight_decay != 0) {
      y[n + i] = x[i];
      factors[n + i] = steps[i].weight_decay;
    }
  }
  const Device device = n > 0 ? parameters[0].device() : kCpu;
  const Tensor out =
      empty({2, static_cast<std::int64_t>(n)}, {.dtype = DType::f64, .device = device});
  kernel(&Kernels::squared_norms, device, kOp)(x, factors, y, out);
  return out;
}

void adam_step_(const Tensors& parameters, const Tensors& gradients, const Tensors& means,
                const Tensors& squares, const std::vector<AdamStep>& steps) {
  constexpr const char* kOp = "adam_step_";
  const Tensors g = checked_operands(kOp, parameters, gradients);
  check_buffers(kOp, "first moment", parameters, means);
  check_buffers(kOp, "second moment", parameters, squares);
  check_count(kOp, "steps", parameters.size(), steps.size());
  if (parameters.empty()) return;
  for (const AdamStep& step : steps) {
    check(step.count >= 1, kOp, "expected a step count from 1, got {}", step.count);
  }
  kernel(&Kernels::adam_step, parameters[0].device(), kOp)(steps, parameters, g, means, squares);
  for (const Tensors* written : {&parameters, &means, &squares}) bump_versions(*written);
}

void lerp_(const Tensors& xs, const Tensors& ys, double weight) {
  const Tensors to = checked_operands("lerp_", xs, ys, "target");
  if (xs.empty()) return;
  kernel(&Kernels::lerp, xs[0].device(), "lerp_")(weight, xs, to);
  bump_versions(xs);
}

Tensor squared_norm(const Tensors& tensors) {
  const Device device = tensors.empty() ? kCpu : tensors[0].device();
  const Tensor parts =
      empty({static_cast<std::int64_t>(tensors.size())}, {.dtype = DType::f64, .device = device});
  Tensors dense;
  for (const Tensor& x : tensors) {
    check_real("squared_norm", x.dtype());
    common_device("squared_norm", {parts, x});
    dense.push_back(contiguous(x.detach()));
  }
  kernel(&Kernels::squared_norms, device, "squared_norm")(
      dense, std::vector<double>(dense.size(), 0.0), Tensors(dense.size()), parts);
  return sum(parts);
}

}  // namespace invar
