#pragma once
// Convolution of images. Images are [N, H, W, C] and weights [O, kh, kw, I] with I = C / groups
// (channels last, unlike PyTorch):
//
//   y[n, p, q, o] = bias[o] + sum over a, b, i of
//                   x[n, p s - pad + a d, q s - pad + b d, i0 + i] weight[o, a, b, i]
//
// where s is the stride, d the dilation, i0 the first channel of o's group, and x is 0 outside of
// the image. The output has floor((H + 2 pad - (kh - 1) d - 1) / s) + 1 rows, columns likewise.
//
// conv2d is linear in x and in the weight, and its two backward passes are the transposed maps.
// They are ops of their own and the gradient rule of each is made of the other two, so gradients of
// any order work.
#include <invar/core/tensor.hpp>
#include <invar/ops/window.hpp>

namespace invar {

/// PyTorch's arguments of the same names.
struct Conv2dOptions {
  Size2 stride = 1;
  Size2 padding = 0;
  Size2 dilation = 1;
  std::int64_t groups = 1;
};

/// How f32 and bf16 convolutions are computed on the CPU. Winograd's algorithm exists for 3x3
/// kernels of stride 1 or 2 without dilation and groups, in bf16 on processors with products of
/// bf16; where it does not, `direct` is used.
enum class ConvAlgorithm {
  automatic,  ///< set_conv_choices' for a problem that it names, else a rule of dtype, shapes and
              ///< instruction set that takes the faster one
  direct,     ///< oneDNN
  winograd,   ///< tiles of 4x4 outputs or 3x3: fewer multiplications, errors (relative root mean
              ///< square) of 1e-6 in f32, of 1 % in bf16, relative to the tile: an infinite or huge
              ///< value spoils outputs beside it, too, which `direct` keeps apart
};

/// For all convolutions from now on, in any thread.
void set_conv_algorithm(ConvAlgorithm algorithm);
ConvAlgorithm conv_algorithm();

/// The convolution; `bias` [O] may be undefined. f32 (oneDNN, strict f32 arithmetic), f64, or bf16
/// with f32 accumulation. Where x is bf16, weight and bias may be f32: the weight is rounded, and
/// both get f32 gradients.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv2dOptions& options = {});

/// The gradient of x, of shape `input_shape` [N, H, W, C], from that of y. Also known as transposed
/// convolution.
Tensor conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Dims& input_shape,
                             const Conv2dOptions& options = {});

/// The gradient of the weight, of shape `weight_shape` [O, kh, kw, I], from that of y. It is f32
/// where those are bf16.
Tensor conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Dims& weight_shape,
                              const Conv2dOptions& options = {});

}  // namespace invar
