#pragma once
// The modules that networks are made of: PyTorch's names, arguments, defaults and initialisation.
//
//   with parameters   Linear  Conv2d  BatchNorm1d  BatchNorm2d  LayerNorm
//   without           ReLU LeakyReLU GELU SiLU Softplus Tanh Sigmoid Identity  Dropout  Flatten
//                     MaxPool2d AvgPool2d AdaptiveMaxPool2d AdaptiveAvgPool2d
//   containers        Sequential, AnyModule (container.hpp)
//
// Images are [N, H, W, C]. The formulas are in the headers of the ops that each module calls.
#include <invar/nn/container.hpp>
#include <invar/nn/module.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/pool.hpp>
#include <optional>

namespace invar::nn {

/// y = x weight^T + bias: [.., in_features] to [.., out_features].
class Linear : public Module {
 public:
  /// Weight and bias are uniform on +-1 / sqrt(in_features).
  Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias = true);
  Tensor forward(const Tensor& x) override;

  Parameter weight;  ///< [out_features, in_features]
  Parameter bias;    ///< [out_features], or absent

 private:
  void members(Members& m) override;
};

/// 2-D convolution: [N, H, W, in_channels] to [N, H', W', out_channels].
class Conv2d : public Module {
 public:
  /// Weight and bias are uniform on +-1 / sqrt(fan_in), fan_in = in_channels / groups * window.
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2 kernel_size,
         const Conv2dOptions& options = {}, bool with_bias = true);
  Tensor forward(const Tensor& x) override;

  Conv2dOptions options;
  Parameter weight;  ///< [out_channels, kh, kw, in_channels / groups]; in files OIHW
  Parameter bias;    ///< [out_channels], or absent

 private:
  void members(Members& m) override;
};

/// Batch normalisation over all dimensions but the last, the channels. In train mode with the
/// batch's statistics (population variance), which also update the running ones (with the unbiased
/// variance); in eval mode with the running ones.
class BatchNorm : public Module {
 public:
  Tensor forward(const Tensor& x) override;
  /// relu(forward(x) + residual) with fewer passes over memory; `residual`, of x's shape, may be
  /// undefined (0).
  Tensor forward_relu(const Tensor& x, const Tensor& residual = {});
  /// To mean 0, variance 1, no batches seen.
  void reset_running_stats();

  double eps;
  /// Weight of a batch in the running statistics; nullopt: the average over all batches.
  std::optional<double> momentum;
  Parameter weight;            ///< [num_features], ones; or absent
  Parameter bias;              ///< [num_features], zeros; or absent
  Buffer running_mean;         ///< [num_features], or absent
  Buffer running_var;          ///< [num_features], or absent
  Buffer num_batches_tracked;  ///< scalar, i64; or absent

 protected:
  /// Without `affine` there are no weight and bias, without `track_running_stats` the batch's
  /// statistics serve in eval mode too.
  BatchNorm(std::int64_t num_features, double eps, std::optional<double> momentum, bool affine,
            bool track_running_stats);

 private:
  /// Checks x's rank. What remains to be checked is, before the running statistics move.
  BatchNormOptions begin(const Tensor& x) const;
  /// In train mode: one batch more, unless it is empty. Once the running statistics have moved.
  void count(const Tensor& x);
  /// Error unless x's rank is one that the module is for.
  virtual void check_input(const Tensor& x) const = 0;
  void members(Members& m) override;
};

/// Of [N, C] or [N, L, C].
class BatchNorm1d : public BatchNorm {
 public:
  explicit BatchNorm1d(std::int64_t num_features, double eps = 1e-5,
                       std::optional<double> momentum = 0.1, bool affine = true,
                       bool track_running_stats = true)
      : BatchNorm(num_features, eps, momentum, affine, track_running_stats) {}

 private:
  void check_input(const Tensor& x) const override;
};

/// Of images [N, H, W, C].
class BatchNorm2d : public BatchNorm {
 public:
  explicit BatchNorm2d(std::int64_t num_features, double eps = 1e-5,
                       std::optional<double> momentum = 0.1, bool affine = true,
                       bool track_running_stats = true)
      : BatchNorm(num_features, eps, momentum, affine, track_running_stats) {}

 private:
  void check_input(const Tensor& x) const override;
};

/// Normalisation of each sample over its last dimensions, which have `normalized_shape`.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(const Dims& normalized_shape, double eps = 1e-5, bool affine = true);
  Tensor forward(const Tensor& x) override;

  Dims normalized_shape;
  double eps;
  Parameter weight;  ///< of normalized_shape, ones; or absent
  Parameter bias;    ///< of normalized_shape, zeros; or absent

 private:
  void members(Members& m) override;
};

// --- elementwise -------------------------------------------------------------------------------

class Identity : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x; }
};

class ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return relu(x); }
};

class LeakyReLU : public Module {
 public:
  explicit LeakyReLU(double negative_slope = 0.01) : negative_slope(negative_slope) {}
  Tensor forward(const Tensor& x) override { return leaky_relu(x, negative_slope); }

  double negative_slope;
};

class GELU : public Module {
 public:
  explicit GELU(GeluApproximation approximation = GeluApproximation::none)
      : approximation(approximation) {}
  Tensor forward(const Tensor& x) override { return gelu(x, approximation); }

  GeluApproximation approximation;
};

class SiLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return silu(x); }
};

class Softplus : public Module {
 public:
  explicit Softplus(double beta = 1, double threshold = 20) : beta(beta), threshold(threshold) {}
  Tensor forward(const Tensor& x) override { return softplus(x, beta, threshold); }

  double beta, threshold;
};

class Tanh : public Module {
 public:
  Tensor forward(const Tensor& x) override { return tanh(x); }
};

class Sigmoid : public Module {
 public:
  Tensor forward(const Tensor& x) override { return sigmoid(x); }
};

/// In train mode each element is 0 with probability p, and divided by 1 - p otherwise.
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;

  double p;
};

// --- shape and pooling -------------------------------------------------------------------------

/// Merges dimensions. Mind the order: an image becomes (h, w, c), in PyTorch (c, h, w), so a Linear
/// behind it has other weights unless the image is 1x1.
class Flatten : public Module {
 public:
  explicit Flatten(int start_dim = 1, int end_dim = -1) : start_dim(start_dim), end_dim(end_dim) {}
  Tensor forward(const Tensor& x) override;

  int start_dim, end_dim;
};

class MaxPool2d : public Module {
 public:
  /// `stride` is kernel_size unless given.
  explicit MaxPool2d(Size2 kernel_size, std::optional<Size2> stride = {}, Size2 padding = 0)
      : kernel_size(kernel_size), stride(stride.value_or(kernel_size)), padding(padding) {}
  Tensor forward(const Tensor& x) override { return max_pool2d(x, kernel_size, stride, padding); }

  Size2 kernel_size, stride, padding;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(Size2 kernel_size, std::optional<Size2> stride = {}, Size2 padding = 0,
                     bool count_include_pad = true)
      : kernel_size(kernel_size),
        stride(stride.value_or(kernel_size)),
        padding(padding),
        count_include_pad(count_include_pad) {}
  Tensor forward(const Tensor& x) override {
    return avg_pool2d(x, kernel_size, stride, padding, count_include_pad);
  }

  Size2 kernel_size, stride, padding;
  bool count_include_pad;
};

class AdaptiveMaxPool2d : public Module {
 public:
  explicit AdaptiveMaxPool2d(Size2 output_size) : output_size(output_size) {}
  Tensor forward(const Tensor& x) override { return adaptive_max_pool2d(x, output_size); }

  Size2 output_size;
};

class AdaptiveAvgPool2d : public Module {
 public:
  explicit AdaptiveAvgPool2d(Size2 output_size) : output_size(output_size) {}
  Tensor forward(const Tensor& x) override { return adaptive_avg_pool2d(x, output_size); }

  Size2 output_size;
};

}  // namespace invar::nn
