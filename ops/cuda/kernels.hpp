#pragma once
// The GPU's kernels, as slots of the table (ops/kernels.hpp has their contracts). Each starts work
// on the current stream of the operands' GPU and returns at once, but for those that give the host
// a value (all_finite, index_outside, nonzero): they wait for it.
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

// reduce.cu
void reduce(ReduceOp op, Params params, const Tensor& x, const Tensor& out);
bool all_finite(const Tensor& x);
void arg_reduce(ReduceOp op, const Tensor& x, int dim, const Tensor& values, const Tensor& indices);
void softmax(const Tensor& x, int dim, bool log, const Tensor& out);

// pool.cu
void max_pool2d(const Tensor& x, const functors::PoolWindows& rows,
                const functors::PoolWindows& columns, const Tensor& out, const Tensor& indices);
void max_pool2d_select(const Tensor& x, const Tensor& indices, const Tensor& out);
void max_pool2d_backward(const Tensor& gradient, const Tensor& indices, const Tensor& out);
void avg_pool2d(const Tensor& x, const functors::PoolWindows& rows,
                const functors::PoolWindows& columns, const Tensor& out);
void avg_pool2d_backward(const Tensor& gradient, const functors::PoolWindows& rows,
                         const functors::PoolWindows& columns, const Tensor& out);

// norm.cu
void batch_norm_statistics(const Tensor& x, const Tensor& mean, const Tensor& var);
void batch_norm(const BatchNormInput& in, const Tensor& residual, const Tensor& out);
void batch_norm_backward(const BatchNormInput& in, const Tensor& y, const Tensor& gradient,
                         const BatchNormGradients& out);
void layer_norm(const Tensor& x, double eps, const Tensor& out, const Tensor& mean,
                const Tensor& rstd);
void layer_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                         const Tensor& rstd, const Tensor& out);

// index.cu
std::optional<std::int64_t> index_outside(const Tensor& index, std::int64_t size);
void gather(const Tensor& x, int dim, const Tensor& index, const Tensor& out);
void scatter_add(int dim, const Tensor& index, const Tensor& src, const Tensor& out);
Tensor nonzero(const Tensor& x);
void cumsum(const Tensor& x, int dim, bool reverse, const Tensor& out);
void sort(const Tensor& x, int dim, bool descending, const Tensor& values, const Tensor& indices);

// optimizer.cu
void sgd_step(std::span<const SgdStep> steps, const Tensors& parameters, const Tensors& gradients,
              const Tensors& momenta, const Tensor& norms);
void adam_step(std::span<const AdamStep> steps, const Tensors& parameters, const Tensors& gradients,
               const Tensors& means, const Tensors& squares);
void lerp(double weight, const Tensors& xs, const Tensors& ys);
void squared_norms(const Tensors& xs, std::span<const double> factors, const Tensors& ys,
                   const Tensor& out);

// image.cu
void sample_images(const StoredImages& stored, const Tensor& indices,
                   const image_steps::ResizedCrop& step, const Tensor& params, const Tensor& out);
void image_step(const ImageStep& step, const Tensor& params, const Tensor& in, const Tensor& out);

// conv.cpp
void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out);
void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out);
void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out);

// matmul.cpp
void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out);

// linalg.cu; all but solve_triangular wait for the GPU
void cholesky(const Tensor& x, const Tensor& out);
void solve_triangular(const Tensor& a, bool upper, const Tensor& x);
void eigh(const Tensor& x, const Tensor& values, const Tensor& vectors);
void svdvals(const Tensor& x, const Tensor& values);

}  // namespace invar::cuda
