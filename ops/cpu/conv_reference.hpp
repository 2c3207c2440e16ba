#pragma once
// Convolution in f64: the plain algorithm, oracle of the fast paths (conv_reference.cpp).
#include <invar/ops/conv.hpp>

namespace invar::cpu::reference {

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out);
void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out);
void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out);

}  // namespace invar::cpu::reference
