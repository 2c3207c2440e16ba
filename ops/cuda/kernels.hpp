#pragma once
// The GPU's kernels, as slots of the table (ops/kernels.hpp has their contracts). Each starts work
// on the current stream of the operands' GPU and returns at once, but for those that give the host
// a value (all_finite, index_outside, nonzero) or factorise (all of linalg.cu but
// solve_triangular): they wait for it.
#include <invar/ops/kernels.hpp>

namespace invar::cuda {

#include <invar/ops/kernel_functions.inc>

KernelFunction<&Kernels::sample_images> sample_images;
KernelFunction<&Kernels::image_step> image_step;

Tensor dense_copy(const Tensor& x);
/// x, dense, or a copy of it that begins at a multiple of 16 bytes: a view may begin anywhere.
Tensor aligned(const Tensor& x);

}  // namespace invar::cuda
