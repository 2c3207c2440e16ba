#include <invar/core/autograd/record.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/in_place.hpp>
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

/// Checks an optional tensor that goes with x.
void check_like(const char* op, const char* name, const Tensor& t, const Tensor& x, DType dtype,
                const Dims& shape) {
  if (!t.defined()) return;
  check(t.shape() == shape && t.dtype() == dtype && t.device() == x.device(), op,
        "expected {} {} {} on {} (input is {} {}), got {} {} on {}", name, dtype, shape, x.device(),
        x.dtype(), x.shape(), t.dtype(), t.shape(), t.device());
}

/// Checks an optional parameter, or running statistics, and converts it to what x is computed in:
/// beside bf16 data it may be f32 or bf16.
Tensor checked_parameter(const char* op, const char* name, const Tensor& t, const Tensor& x,
                         const Dims& shape) {
  if (!t.defined()) return t;
  const DType computed = computed_in(x.dtype());
  check_like(op, name, t, x, t.dtype() == x.dtype() ? x.dtype() : computed, shape);
  return contiguous(to(t, computed));
}

/// running = (1 - momentum) running + momentum factor batch, in place.
void move_towards(const Tensor& running, const Tensor& batch, double factor, double momentum) {
  if (!running.defined()) return;
  kernel(&Kernels::running_average, running.device(), "running_average")(batch, factor, momentum,
                                                                         running);
  running.bump_version();
}

struct Statistics {
  Tensor mean, rstd;  // [C]
};

/// What follows the normalisation in the same pass.
struct Epilogue {
  bool relu = false;
  Tensor residual;  ///< added before the relu, dense; undefined: nothing is
};

// z = s w + b with s = (x - mean) rstd; y = z, or max(z + r, 0). With dz = dy, or [y > 0] dy:
// dx = standardize_backward(w dz), or w rstd dz if the statistics are constants; dw = sum of s dz,
// db = sum of dz, dr = dz. With bf16 data all of this is computed in f32, and dx and dr are
// rounded.

/// dx, dw, db and dr in one kernel: training's, without a history.
Tensors fused_gradients(const BatchNormInput& in, const Tensor& output, const Tensor& gradient,
                        bool residual, Needs needs) {
  const BatchNormGradients d{.x = needs[0] ? empty(in.x.shape(), in.x.options()) : Tensor(),
                             .weight = empty_like(in.mean),
                             .bias = empty_like(in.mean),
                             .residual = residual ? empty(in.x.shape(), in.x.options()) : Tensor()};
  kernel(&Kernels::batch_norm_backward, in.x.device(), "batch_norm_backward")(
      in, output, contiguous(gradient), d);
  return {d.x, d.weight, d.bias, d.residual};
}

/// The same as differentiable formulas. The mask [y > 0] is a constant in second derivatives.
Tensors composed_gradients(const Tensor& x, const Statistics& statistics, const Tensor& weight,
                           const BatchNormOptions& o, const Tensor& mask, const Tensor& gradient,
                           Needs needs) {
  const DType computed = statistics.mean.dtype();
  const Tensor v = to(x, computed), g = to(gradient, computed);
  const Tensor dz = mask.defined() ? where(mask, g, 0) : g;
  Dims dims;
  for (int i = 0; i + 1 < v.dim(); ++i) dims.push_back(i);
  const Standardized s =
      o.training ? standardize(v, dims, o.eps)
                 : Standardized{(v - statistics.mean) * statistics.rstd, statistics.rstd};
  Tensor dx;
  if (needs[0]) {
    const Tensor scaled = weight.defined() ? dz * weight : dz;
    dx = to(o.training ? standardize_backward(scaled, s, dims) : scaled * s.rstd, x.dtype());
  }
  return {dx, needs[1] ? sum(dz * s.values, dims) : Tensor(), needs[2] ? sum(dz, dims) : Tensor(),
          to(dz, x.dtype())};
}

/// Normalises x, dense, by given statistics. `training`: they are x's own, else constants.
///
/// y comes with a recipe (Note [Recomputing]) unless x or r has one: recipes do not build on each
/// other, however long the chain. In a ResNet with identity shortcuts every other block is stored,
/// the rest is made anew.
Tensor normalize_channels(const char* op, const Tensor& x, const Statistics& statistics,
                          const Tensor& weight, const Tensor& bias, const BatchNormOptions& o,
                          const Epilogue& epilogue) {
  const Device device = x.device();
  const bool relu = epilogue.relu, residual = epilogue.residual.defined();
  const auto forward = [=](const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& residual) {
    Tensor out = empty(x.shape(), x.options());
    kernel(&Kernels::batch_norm, device, op)(
        {x, statistics.mean, statistics.rstd, weight, bias, relu}, residual, out);
    return out;
  };
  const Tensor out = forward(x, weight, bias, epilogue.residual);
  if (!needs_grad({x, weight, bias, epilogue.residual})) return out;

  std::shared_ptr<Recipe> recipe;
  if (!has_recipe(x) && !has_recipe(epilogue.residual)) {
    recipe = std::make_shared<Recipe>(
        Recipe{op, [forward, x = SavedTensor(x), weight = SavedTensor(weight),
                    bias = SavedTensor(bias), residual = SavedTensor(epilogue.residual)] {
                 return forward(x.get(), weight.get(), bias.get(), residual.get());
               }});
  }
  record(op, {x, weight, bias, epilogue.residual}, out,
         [=, x = SavedTensor(x), weight = SavedTensor(weight),
          bias = relu ? SavedTensor(bias) : SavedTensor(),
          y = relu && !recipe ? SavedTensor::output(out) : SavedTensor()](const Tensor& gradient,
                                                                          Needs needs) -> Tensors {
           const Tensor data = x.get(), w = weight.get();
           const bool fused = o.training && !grad_enabled();
           Tensor output;  // without history
           if (relu && (residual || !fused)) {
             const NoGrad guard;
             output = recipe ? recipe->get() : y.get();
           }
           if (recipe) recipe->made = {};
           if (fused) {
             return fused_gradients({data, statistics.mean, statistics.rstd, w, bias.get(), relu},
                                    output, gradient, residual, needs);
           }
           const Tensor mask = relu ? gt(output, 0) : Tensor();
           return composed_gradients(data, statistics, w, o, mask, gradient, needs);
         });
  if (recipe) set_recipe(out, recipe);
  return out;
}

Tensor batch_norm(const char* op, const Tensor& input, const Tensor& running_mean,
                  const Tensor& running_var, const Tensor& given_weight, const Tensor& given_bias,
                  const BatchNormOptions& o, const Epilogue& epilogue) {
  check_floating(op, input.dtype());
  check(input.dim() >= 2, op, "expected input [N,...,C], got {}", input.shape());
  const Dims channels{input.shape().back()};
  const Tensor weight = checked_parameter(op, "weight", given_weight, input, channels);
  const Tensor bias = checked_parameter(op, "bias", given_bias, input, channels);
  const Tensor mean_so_far = checked_parameter(op, "running_mean", running_mean, input, channels);
  const Tensor var_so_far = checked_parameter(op, "running_var", running_var, input, channels);
  check_like(op, "residual", epilogue.residual, input, input.dtype(), input.shape());
  check(o.training || (running_mean.defined() && running_var.defined()), op,
        "expected running statistics, got none: they are what is used when not training");
  if (input.numel() == 0) {
    Tensor y = weight.defined() ? input * weight : input;
    if (bias.defined()) y = y + bias;
    if (epilogue.residual.defined()) y = y + epilogue.residual;
    return to(epilogue.relu ? relu(y) : y, input.dtype());
  }

  const Tensor x = contiguous(input);
  const auto m = static_cast<double>(x.numel() / channels[0]);
  Statistics statistics;
  Tensor var;  // of this batch
  if (o.training) {
    check(m > 1, op, "expected more than one value per channel when training, got input {}",
          x.shape());
    for (const Tensor* running : {&running_mean, &running_var}) {
      if (!running->defined()) continue;
      check(!running->requires_grad(), op,
            "expected running statistics without history, got one that requires grad");
      check_in_place(*running, false, op);
    }
    statistics.mean = empty(channels, {.dtype = computed_in(x.dtype()), .device = x.device()});
    statistics.rstd = empty_like(statistics.mean);
    var = empty_like(statistics.mean);
    kernel(&Kernels::batch_norm_statistics, x.device(), op)(x, o.eps, statistics.mean, var,
                                                            statistics.rstd);
  } else {
    NoGrad guard;
    statistics.mean = clone(mean_so_far);  // a copy: it may move before backward
    statistics.rstd = rsqrt(var_so_far + o.eps);
  }
  const Tensor& residual = epilogue.residual;
  Tensor y =
      normalize_channels(op, x, statistics, weight, bias, o,
                         {epilogue.relu, residual.defined() ? contiguous(residual) : residual});
  if (o.training) {  // last: for a batch that found no memory they stay as they were
    move_towards(running_mean, statistics.mean, 1, o.momentum);
    move_towards(running_var, var, m / (m - 1), o.momentum);
  }
  return y;
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, const BatchNormOptions& options) {
  return batch_norm("batch_norm", x, running_mean, running_var, weight, bias, options, {});
}

Tensor batch_norm_relu(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                       const Tensor& weight, const Tensor& bias, const BatchNormOptions& options,
                       const Tensor& residual) {
  return batch_norm("batch_norm_relu", x, running_mean, running_var, weight, bias, options,
                    {true, residual});
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

Tensor layer_norm(const Tensor& input, const Dims& normalized_shape, const Tensor& given_weight,
                  const Tensor& given_bias, double eps) {
  constexpr const char* kOp = "layer_norm";
  const Tensor x = autocast(kOp, input);
  check_floating(kOp, x.dtype());
  const int lead = x.dim() - normalized_shape.size();
  check(!normalized_shape.empty(), kOp,
        "expected a normalized_shape of at least one dimension, got {}", normalized_shape);
  bool fits = lead >= 0;
  for (int i = 0; fits && i < normalized_shape.size(); ++i) {
    fits = x.shape()[lead + i] == normalized_shape[i];
  }
  check(fits, kOp, "expected an input whose last sizes are {}, got {}", normalized_shape,
        x.shape());
  const Tensor weight = checked_parameter(kOp, "weight", given_weight, x, normalized_shape);
  const Tensor bias = checked_parameter(kOp, "bias", given_bias, x, normalized_shape);
  if (x.dtype() == DType::bf16) {
    return to(layer_norm(to(x, DType::f32), normalized_shape, weight, bias, eps), DType::bf16);
  }
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
  check_floating("dropout", x.dtype());
  check(p >= 0 && p <= 1, "dropout", "expected a probability in [0, 1], got {}", p);
  if (!training || p == 0) return x;
  const Tensor kept =
      bernoulli(1 - p, x.shape(), {.dtype = DType::boolean, .device = x.device()}, generator);
  return where(kept, p < 1 ? x * (1 / (1 - p)) : x, 0);
}

}  // namespace invar
