#pragma once
// Initialisation: fills a tensor in place with PyTorch's distributions (torch.nn.init) and returns
// it. Parameters may be filled at any time; nothing is recorded.
//
// fan_in is the number of inputs that one output element sums over, fan_out the number of outputs
// that one input element goes to. Weights have the output dimension first and the input dimension
// last, whatever lies between is the window: linear [O, I], convolution [O, kh, kw, I / groups]:
//
//   fan_in = size(-1) * window,  fan_out = size(0) * window
#include <cstdint>
#include <invar/core/random.hpp>
#include <invar/core/tensor.hpp>

namespace invar::nn::init {

Tensor constant_(const Tensor& x, double value);
Tensor zeros_(const Tensor& x);
/// On [low, high); rounding may give high itself.
Tensor uniform_(const Tensor& x, double low = 0, double high = 1,
                Generator& generator = default_generator());
Tensor normal_(const Tensor& x, double mean = 0, double std = 1,
               Generator& generator = default_generator());

struct Fans {
  std::int64_t in;
  std::int64_t out;
};
/// Error for fewer than two dimensions.
Fans fans(const Tensor& weight);

enum class FanMode { fan_in, fan_out };

/// What follows the weight. Its gain keeps the variance through random layers: linear and sigmoid
/// 1, tanh 5/3, relu sqrt(2), leaky_relu sqrt(2 / (1 + slope^2)).
enum class Nonlinearity { linear, sigmoid, tanh, relu, leaky_relu };
double gain(Nonlinearity nonlinearity, double negative_slope = 0.01);

struct KaimingOptions {
  double negative_slope = 0;  ///< of leaky_relu; PyTorch's `a`
  FanMode mode = FanMode::fan_in;
  Nonlinearity nonlinearity = Nonlinearity::leaky_relu;
};
/// Uniform on +-sqrt(3) gain / sqrt(fan).
Tensor kaiming_uniform_(const Tensor& x, const KaimingOptions& options = {},
                        Generator& generator = default_generator());
/// Normal with standard deviation gain / sqrt(fan).
Tensor kaiming_normal_(const Tensor& x, const KaimingOptions& options = {},
                       Generator& generator = default_generator());

/// Uniform on +-gain sqrt(6 / (fan_in + fan_out)).
Tensor xavier_uniform_(const Tensor& x, double gain = 1,
                       Generator& generator = default_generator());
/// Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)).
Tensor xavier_normal_(const Tensor& x, double gain = 1, Generator& generator = default_generator());

}  // namespace invar::nn::init
