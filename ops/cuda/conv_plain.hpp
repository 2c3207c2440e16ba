#pragma once
// Convolution as the formula says, an element of the result per thread, summed in f64: for f64,
// which cuDNN does not have in every layout, and for small problems that it has no plan for
// (conv_plain.cu). Everything is dense and not empty; f32, f64 or bf16 with f32 bias and gradient
// of the weight.
#include <invar/ops/conv.hpp>

namespace invar::cuda::plain {

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out);
void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out);
void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out);

/// out[.., c] += bias[c]
void add_bias(const Tensor& bias, const Tensor& out);

}  // namespace invar::cuda::plain
