#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/error.hpp>
#include <invar/nn/init.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>

namespace invar::nn::init {
namespace {

double fan_of(const Tensor& x, FanMode mode) {
  const Fans f = fans(x);
  return static_cast<double>(mode == FanMode::fan_in ? f.in : f.out);
}

double kaiming_std(const Tensor& x, const KaimingOptions& options) {
  const double fan = fan_of(x, options.mode);
  return fan > 0 ? gain(options.nonlinearity, options.negative_slope) / std::sqrt(fan) : 0;
}

double xavier_std(const Tensor& x, double gain) {
  const Fans f = fans(x);
  return gain * std::sqrt(2 / static_cast<double>(f.in + f.out));
}

}  // namespace

Tensor constant_(const Tensor& x, double value) {
  NoGrad guard;
  return fill_(x, value);
}

Tensor zeros_(const Tensor& x) { return constant_(x, 0); }

Tensor uniform_(const Tensor& x, double low, double high, Generator& generator) {
  check(low <= high, "uniform_", "expected low <= high, got {} and {}", low, high);
  check(high - low <= 0x1p127, "uniform_", "expected high - low of at most 2^127, got {} and {}",
        low, high);
  NoGrad guard;
  return copy_(x, add_(mul_(rand(x.shape(), x.options(), generator), high - low), low));
}

Tensor normal_(const Tensor& x, double mean, double std, Generator& generator) {
  check(std >= 0, "normal_", "expected std >= 0, got {}", std);
  NoGrad guard;
  return copy_(x, add_(mul_(randn(x.shape(), x.options(), generator), std), mean));
}

Fans fans(const Tensor& weight) {
  check(weight.dim() >= 2, "fans",
        "expected a weight of at least 2 dimensions, got shape {}: a bias has no fan",
        weight.shape());
  std::int64_t window = 1;
  for (int d = 1; d < weight.dim() - 1; ++d) window *= weight.size(d);
  return {weight.size(-1) * window, weight.size(0) * window};
}

double gain(Nonlinearity nonlinearity, double negative_slope) {
  switch (nonlinearity) {
    case Nonlinearity::linear:
    case Nonlinearity::sigmoid:
      return 1;
    case Nonlinearity::tanh:
      return 5.0 / 3.0;
    case Nonlinearity::relu:
      return std::sqrt(2.0);
    case Nonlinearity::leaky_relu:
      return std::sqrt(2 / (1 + negative_slope * negative_slope));
  }
  fail_internal("gain", "unknown nonlinearity");
}

Tensor kaiming_uniform_(const Tensor& x, const KaimingOptions& options, Generator& generator) {
  const double bound = std::sqrt(3.0) * kaiming_std(x, options);
  return uniform_(x, -bound, bound, generator);
}

Tensor kaiming_normal_(const Tensor& x, const KaimingOptions& options, Generator& generator) {
  return normal_(x, 0, kaiming_std(x, options), generator);
}

Tensor xavier_uniform_(const Tensor& x, double gain, Generator& generator) {
  const double bound = std::sqrt(3.0) * xavier_std(x, gain);
  return uniform_(x, -bound, bound, generator);
}

Tensor xavier_normal_(const Tensor& x, double gain, Generator& generator) {
  return normal_(x, 0, xavier_std(x, gain), generator);
}

}  // namespace invar::nn::init
