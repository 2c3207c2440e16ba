#pragma once
// The weight gradient of f32 convolution on machines with AVX2 but not AVX-512, where oneDNN's
// kernel reaches half of what the processor can do (conv_backward_weight.cpp).
#include <invar/ops/conv.hpp>

namespace invar::cpu {

/// True iff conv2d_backward_weight_avx2 is compiled in, can do it, and is faster than oneDNN on
/// such a machine: by 1.1 to 3.7 times on ResNet's 3x3 layers. (oneDNN's 1x1 kernel is as fast.)
bool prefers_avx2_backward_weight(const Dims& x, const Dims& weight, const Dims& y,
                                  const Conv2dOptions& o);

/// As the slot conv2d_backward_weight. f32, one group, nothing empty. The same bits for any number
/// of threads.
void conv2d_backward_weight_avx2(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                                 const Tensor& out);

}  // namespace invar::cpu
