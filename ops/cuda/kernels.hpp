#pragma once
// The GPU's kernels, as slots of the table (ops/kernels.hpp has their contracts). Each starts work
// on the default stream of the operands' GPU and returns at once.
#include <invar/ops/kernels.hpp>

namespace invar::cuda {

// elementwise.cu
void unary(UnaryOp op, Params params, const Tensor& x, const Tensor& out);
void binary(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& out);
void compare(CompareOp op, const Tensor& a, const Tensor& b, const Tensor& out);
void where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out);

// fill.cu
void copy(const Tensor& x, const Tensor& out);
void fill(double value, const Tensor& out);
void arange(double start, double step, const Tensor& out);
void random(RandomOp op, Params params, std::uint64_t seed, std::uint64_t offset,
            const Tensor& out);

}  // namespace invar::cuda
