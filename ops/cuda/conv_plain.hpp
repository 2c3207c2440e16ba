#pragma once
// Convolution as the formula says, an element of the result per thread, summed in f64: for f64,
// which cuDNN does not have in every layout, and for small problems that it has no plan for
// (conv_plain.cu). Everything is dense and not empty; f32, f64 or bf16 with f32 bias and gradient
// of the weight.
#include <invar/ops/conv.hpp>
#include <invar/ops/kernels.hpp>

namespace invar::cuda::plain {

KernelFunction<&Kernels::conv2d> conv2d;
KernelFunction<&Kernels::conv2d_backward_input> conv2d_backward_input;
KernelFunction<&Kernels::conv2d_backward_weight> conv2d_backward_weight;

/// out[.., c] += bias[c]
void add_bias(const Tensor& bias, const Tensor& out);

}  // namespace invar::cuda::plain
