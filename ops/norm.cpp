#include <invar/core/autograd/record.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

// Note [Two backward passes]: the forward kernels save x and its statistics as plain numbers. A
// backward pass that is not recorded feeds them to a fused kernel. One that is recorded
// (create_graph) must know how the statistics depend on x, so it computes them anew from the saved
// x, in the differentiable ops below. Running statistics belong to the forward pass alone.

struct Standardized {
  Tensor values;  ///< (x - mean) rstd
  Tensor rstd;    ///< 1 / sqrt(var + eps), keeping its dimensions
};

Standardized standardize(const Tensor& x, const Dims& dims, double eps) {
  const Tensor centred = x - mean(x, dims, true);
  const Tensor rstd = rsqrt(mean(square(centred), dims, true) + eps);
  return {centred * rstd, rstd};
}

// s = standardize(x): dx = rstd (ds - mean(ds) - s mean(s ds))
Tensor standardize_backward(const Tensor& g, const Standardized& s, const Dims& dims) {
  return s.rstd * (g - mean(g, dims, true) - s.values * mean(s.values * g, dims, true));
}

void check_real(const char* op, const Tensor& x) {
  check(x.dtype() == DType::f32 || x.dtype() == DType::f64, op,
        "expected dtype f32 or f64, got {}: convert it with to()", x.dtype());
}

/// Checks an optional parameter.
void check_like(const char* op, const char* name, const Tensor& t, const Tensor& x,
                const Dims& shape) {
  if (!t.defined()) return;
  check(t.shape() == shape && t.dtype() == x.dtype() && t.device() == x.device(), op,
        "expected {} {} {} (input is {}), got {} {}", name, x.dtype(), shape, x.shape(), t.dtype(),
        t.shape());
}

Tensor contiguous_or_undefined(const Tensor& t) { return t.defined() ? contiguous(t) : t; }

/// running += momentum (batch - running), in place.
void move_towards(const Tensor& running, const Tensor& batch, double momentum) {
  if (!running.defined()) return;
  check(!running.requires_grad(), "batch_norm",
        "expected running statistics without history, got one that requires grad");
  NoGrad guard;
  mul_(running, 1 - momentum);
  add_(running, batch * momentum);
}

struct Statistics {
  Tensor mean, rstd;  // [C]
};

/// Normalises x, dense, by given statistics. `training`: they are x's own, else constants.
// y = s w + b with s = (x - mean) rstd: dx = standardize_backward(w dy), or w rstd dy if they are
// constants; dw = sum of s dy, db = sum of dy
Tensor normalize_channels(const Tensor& x, const Statistics& statistics, const Tensor& weight,
                          const Tensor& bias, const BatchNormOptions& o) {
  const Device device = x.device();
  Tensor out = empty(x.shape(), x.options());
  kernel(&Kernels::batch_norm, device, "batch_norm")(x, statistics.mean, statistics.rstd, weight,
                                                     bias, out);
  return record("batch_norm", {x, weight, bias}, out,
                [x = SavedTensor(x), weight = SavedTensor(weight), statistics, device, o](
                    const Tensor& g, Needs needs) -> Tensors {
                  const Tensor v = x.get(), w = weight.get();
                  Dims dims;
                  for (int i = 0; i + 1 < v.dim(); ++i) dims.push_back(i);
                  if (o.training && !grad_enabled()) {
                    const Dims channels{v.shape().back()};
                    Tensor dx = needs[0] ? empty(v.shape(), v.options()) : Tensor();
                    Tensor dw = empty(channels, v.options()), db = empty(channels, v.options());
                    kernel(&Kernels::batch_norm_backward, device, "batch_norm_backward")(
                        contiguous(g), v, statistics.mean, statistics.rstd, w, dx, dw, db);
                    return {dx, needs[1] ? dw : Tensor(), needs[2] ? db : Tensor()};
                  }
                  const Standardized s =
                      o.training
                          ? standardize(v, dims, o.eps)
                          : Standardized{(v - statistics.mean) * statistics.rstd, statistics.rstd};
                  Tensor dx;
                  if (needs[0]) {
                    const Tensor scaled = w.defined() ? g * w : g;
                    dx = o.training ? standardize_backward(scaled, s, dims) : scaled * s.rstd;
                  }
                  return {dx, needs[1] ? sum(g * s.values, dims) : Tensor(),
                          needs[2] ? sum(g, dims) : Tensor()};
                });
}

}  // namespace

Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, const BatchNormOptions& o) {
  constexpr const char* kOp = "batch_norm";
  check_real(kOp, input);
  check(input.dim() >= 2, kOp, "expected input [N,...,C], got {}", input.shape());
  const Dims channels{input.shape().back()};
  check_like(kOp, "weight", weight, input, channels);
  check_like(kOp, "bias", bias, input, channels);
  check_like(kOp, "running_mean", running_mean, input, channels);
  check_like(kOp, "running_var", running_var, input, channels);
  check(o.training || (running_mean.defined() && running_var.defined()), kOp,
        "expected running statistics, got none: they are what is used when not training");
  if (input.numel() == 0) {
    const Tensor scaled = weight.defined() ? input * weight : input;
    return bias.defined() ? scaled + bias : scaled;
  }

  const Tensor x = contiguous(input);
  Statistics statistics;
  {
    NoGrad guard;
    Tensor var = running_var;
    if (o.training) {
      const std::int64_t m = x.numel() / channels[0];
      check(m > 1, kOp, "expected more than one value per channel when training, got input {}",
            x.shape());
      statistics.mean = empty(channels, x.options());
      var = empty(channels, x.options());
      kernel(&Kernels::batch_norm_statistics, x.device(), kOp)(x, statistics.mean, var);
      move_towards(running_mean, statistics.mean, o.momentum);
      move_towards(running_var, var * (static_cast<double>(m) / static_cast<double>(m - 1)),
                   o.momentum);
    } else {
      statistics.mean = clone(running_mean);  // a copy: it may move before backward
    }
    statistics.rstd = rsqrt(var + o.eps);
  }
  return normalize_channels(x, statistics, contiguous_or_undefined(weight),
                            contiguous_or_undefined(bias), o);
}

namespace {

/// (x - mean) / sqrt(var + eps) over the last dimension of x, dense [rows, columns].
Tensor standardize_rows(const Tensor& x, double eps) {
  const Device device = x.device();
  Tensor out = empty(x.shape(), x.options());
  const Tensor mean = empty({x.shape()[0]}, x.options()), rstd = empty_like(mean);
  kernel(&Kernels::layer_norm, device, "layer_norm")(x, eps, out, mean, rstd);
  return record("layer_norm", {x}, out,
                [x = SavedTensor(x), mean, rstd, device, eps](const Tensor& g) -> Tensors {
                  const Tensor v = x.get();
                  if (grad_enabled()) {
                    return {standardize_backward(g, standardize(v, {-1}, eps), {-1})};
                  }
                  Tensor dx = empty(v.shape(), v.options());
                  kernel(&Kernels::layer_norm_backward, device, "layer_norm_backward")(
                      contiguous(g), v, mean, rstd, dx);
                  return {dx};
                });
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Dims& normalized_shape, const Tensor& weight,
                  const Tensor& bias, double eps) {
  constexpr const char* kOp = "layer_norm";
  check_real(kOp, x);
  const int lead = x.dim() - normalized_shape.size();
  bool fits = lead >= 0 && !normalized_shape.empty();
  for (int i = 0; fits && i < normalized_shape.size(); ++i) {
    fits = x.shape()[lead + i] == normalized_shape[i];
  }
  check(fits, kOp, "expected an input whose last sizes are {}, got {}", normalized_shape,
        x.shape());
  check_like(kOp, "weight", weight, x, normalized_shape);
  check_like(kOp, "bias", bias, x, normalized_shape);
  Tensor y = x;
  if (x.numel() > 0) {
    const std::int64_t columns = numel_of(normalized_shape);
    const Tensor rows = reshape(contiguous(x), {x.numel() / columns, columns});
    y = reshape(standardize_rows(rows, eps), x.shape());
  }
  if (weight.defined()) y = y * weight;
  return bias.defined() ? y + bias : y;
}

// dy = [kept] dx / (1 - p)
Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  check_real("dropout", x);
  check(p >= 0 && p <= 1, "dropout", "expected a probability in [0, 1], got {}", p);
  if (!training || p == 0) return x;
  const Tensor kept =
      bernoulli(1 - p, x.shape(), {.dtype = DType::boolean, .device = x.device()}, generator);
  return where(kept, p < 1 ? x * (1 / (1 - p)) : x, 0);
}

}  // namespace invar
