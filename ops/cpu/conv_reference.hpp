#pragma once
// Convolution in f64: the plain algorithm, oracle of the fast paths (conv_reference.cpp).
#include <invar/ops/conv.hpp>
#include <invar/ops/kernels.hpp>

namespace invar::cpu::reference {

KernelFunction<&Kernels::conv2d> conv2d;
KernelFunction<&Kernels::conv2d_backward_input> conv2d_backward_input;
KernelFunction<&Kernels::conv2d_backward_weight> conv2d_backward_weight;

}  // namespace invar::cpu::reference
