#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/init.hpp>
#include <invar/nn/modules.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/view.hpp>

namespace invar::nn {
namespace {

/// PyTorch's default for layers that sum over fan_in inputs, in the order weight, bias.
void init_like_pytorch(const Tensor& weight, const Tensor& bias) {
  init::kaiming_uniform_(weight, {.negative_slope = std::sqrt(5.0)});
  if (!bias.defined()) return;
  const std::int64_t fan_in = init::fans(weight).in;
  const double bound = fan_in > 0 ? 1 / std::sqrt(static_cast<double>(fan_in)) : 0;
  init::uniform_(bias, -bound, bound);
}

}  // namespace

// --- Linear ------------------------------------------------------------------------------------

Linear::Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias)
    : weight(empty({out_features, in_features})) {
  if (with_bias) bias = Parameter(empty({out_features}));
  init_like_pytorch(weight, bias);
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight, bias); }

void Linear::members(Members& m) {
  m("weight", weight);
  m("bias", bias);
}

// --- Conv2d ------------------------------------------------------------------------------------

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2 kernel_size,
               const Conv2dOptions& options, bool with_bias)
    : options(options) {
  const std::int64_t groups = options.groups;
  check(groups >= 1 && in_channels % groups == 0 && out_channels % groups == 0, "Conv2d",
        "expected channels that {} groups divide, got {} to {}", groups, in_channels, out_channels);
  weight =
      Parameter(empty({out_channels, kernel_size.height, kernel_size.width, in_channels / groups}),
                FileLayout::oihw);
  if (with_bias) bias = Parameter(empty({out_channels}));
  init_like_pytorch(weight, bias);
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight, bias, options); }

void Conv2d::members(Members& m) {
  m("weight", weight);
  m("bias", bias);
}

// --- BatchNorm ---------------------------------------------------------------------------------

BatchNorm::BatchNorm(std::int64_t num_features, double eps, std::optional<double> momentum,
                     bool affine, bool track_running_stats)
    : eps(eps), momentum(momentum) {
  if (affine) {
    weight = Parameter(ones({num_features}));
    bias = Parameter(zeros({num_features}));
  }
  if (track_running_stats) {
    running_mean = Buffer(zeros({num_features}));
    running_var = Buffer(ones({num_features}));
    num_batches_tracked = Buffer(zeros({}, {.dtype = DType::i64}));
  }
}

BatchNormOptions BatchNorm::begin(const Tensor& x) const {
  check_input(x);
  const bool training = is_training() || !running_mean.defined();
  double factor = momentum.value_or(0);
  if (!momentum && training && running_mean.defined()) {
    factor = 1 / (num_batches_tracked.item() + 1);
  }
  return {.training = training, .momentum = factor, .eps = eps};
}

void BatchNorm::count(const Tensor& x) {
  if (is_training() && running_mean.defined() && x.numel() > 0) add_(num_batches_tracked, 1);
}

Tensor BatchNorm::forward(const Tensor& x) {
  const Tensor y = batch_norm(x, running_mean, running_var, weight, bias, begin(x));
  count(x);
  return y;
}

Tensor BatchNorm::forward_relu(const Tensor& x, const Tensor& residual) {
  const Tensor y = batch_norm_relu(x, running_mean, running_var, weight, bias, begin(x), residual);
  count(x);
  return y;
}

void BatchNorm::reset_running_stats() {
  if (!running_mean.defined()) return;
  NoGrad guard;
  zero_(running_mean);
  fill_(running_var, 1);
  zero_(num_batches_tracked);
}

void BatchNorm::members(Members& m) {
  m("weight", weight);
  m("bias", bias);
  m("running_mean", running_mean);
  m("running_var", running_var);
  m("num_batches_tracked", num_batches_tracked);
}

void BatchNorm1d::check_input(const Tensor& x) const {
  check(x.dim() == 2 || x.dim() == 3, "BatchNorm1d", "expected [N,C] or [N,L,C], got {}",
        x.shape());
}

void BatchNorm2d::check_input(const Tensor& x) const {
  check(x.dim() == 4, "BatchNorm2d", "expected images [N,H,W,C], got {}", x.shape());
}

// --- LayerNorm ---------------------------------------------------------------------------------

LayerNorm::LayerNorm(const Dims& normalized_shape, double eps, bool affine)
    : normalized_shape(normalized_shape), eps(eps) {
  if (!affine) return;
  weight = Parameter(ones(normalized_shape));
  bias = Parameter(zeros(normalized_shape));
}

Tensor LayerNorm::forward(const Tensor& x) {
  return layer_norm(x, normalized_shape, weight, bias, eps);
}

void LayerNorm::members(Members& m) {
  m("weight", weight);
  m("bias", bias);
}

// --- without parameters ------------------------------------------------------------------------

Dropout::Dropout(double p) : p(p) {
  check(p >= 0 && p <= 1, "Dropout", "expected a probability in [0, 1], got {}", p);
}

Tensor Dropout::forward(const Tensor& x) { return dropout(x, p, is_training()); }

Tensor Flatten::forward(const Tensor& x) { return flatten(x, start_dim, end_dim); }

}  // namespace invar::nn
