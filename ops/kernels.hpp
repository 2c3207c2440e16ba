#pragma once
// The kernel table: what a device must be able to do, one slot per kernel. A public op checks its
// arguments, makes the output and calls
//
//   kernel(&Kernels::unary, x.device(), "exp")(UnaryOp::exp, {}, x, y);
//
// Each device fills one constant table (kernel_functions.inc). There is no self-registration: the
// linker drops it from static libraries. An empty slot throws Error `[exp] has no CUDA kernel`. A
// new kernel is a slot here, two lines in kernel_functions.inc, and for each device the function.
//
// Conventions of all kernels: arguments were checked by the op; `out` has its final shape and
// dtype; inputs may have any strides unless a slot says "dense"; nothing is recorded. bf16 is
// computed in f32 and rounded at the end (to nearest, ties to even).
#include <array>
#include <cstdint>
#include <invar/core/observer.hpp>
#include <invar/core/tensor.hpp>
#include <invar/ops/image.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace invar {

/// One input, one output of the same dtype; the maths of each is in functors/unary.hpp.
enum class UnaryOp {
  // numbers
  neg,
  abs,
  sign,
  square,
  add_scalar,
  mul_scalar,
  clamp,
  // reals
  div_scalar,
  rdiv_scalar,
  pow_scalar,
  exp,
  expm1,
  log,
  log1p,
  sqrt,
  rsqrt,
  reciprocal,
  sin,
  cos,
  tanh,
  erf,
  sigmoid,
  relu,
  leaky_relu,
  gelu,
  gelu_tanh,
  silu,
  softplus,
  floor,
  ceil,
  round,
};

/// Two inputs, one output, all of one dtype; functors/binary.hpp.
enum class BinaryOp { add, sub, mul, div, pow, maximum, minimum, relu_backward };

/// Two inputs of one dtype, a boolean output; functors/binary.hpp.
enum class CompareOp { eq, ne, lt, le, gt, ge };

/// Many values to one; functors/reduce.hpp. `any` and `all` take booleans; logsumexp, the norms,
/// var and std f32 or f64; the rest f32, f64 or i64. params[0] of var and std is the correction.
enum class ReduceOp { sum, prod, max, min, any, all, logsumexp, norm1, norm2, norm_inf, var, std };

enum class RandomOp { uniform, normal, bernoulli, integer };

/// Up to two numbers that a functor takes beside its operands (a slope, two bounds).
using Params = std::array<double, 2>;

struct Conv2dOptions;  // conv.hpp
namespace functors {
struct PoolWindows;  // functors/pool.hpp
}

/// What a batch-norm is computed from: x is [..., C], the rest [C].
struct BatchNormInput {
  Tensor x, mean, rstd;
  Tensor weight, bias;  ///< undefined: 1 and 0
  bool relu = false;    ///< true iff a relu follows
};

struct BatchNormGradients {
  Tensor x;  ///< undefined: not wanted
  Tensor weight, bias;
  Tensor residual;  ///< defined iff there was a residual
};

struct SgdStep;   // optimizer.hpp
struct AdamStep;  // optimizer.hpp

struct Kernels {
  // elementwise: inputs broadcast to out's shape
  void (*unary)(UnaryOp op, Params params, const Tensor& x, const Tensor& out);
  void (*binary)(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& out);
  void (*compare)(CompareOp op, const Tensor& a, const Tensor& b, const Tensor& out);
  void (*where)(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out);
  /// Converts between any two dtypes. Real to integer truncates; anything to boolean is x != 0.
  void (*copy)(const Tensor& x, const Tensor& out);

  // making values; out is dense, but for fill
  void (*fill)(double value, const Tensor& out);
  void (*arange)(double start, double step, const Tensor& out);
  /// `params`: integer takes [low, high), bernoulli its probability.
  void (*random)(RandomOp op, Params params, std::uint64_t seed, std::uint64_t offset,
                 const Tensor& out);

  // reduction: out is dense and has x's shape with each reduced dimension of size 1
  void (*reduce)(ReduceOp op, Params params, const Tensor& x, const Tensor& out);
  bool (*all_finite)(const Tensor& x);

  // along one dimension of reals or integers; outputs are dense, indices i64
  /// op is max or min; values and indices have size 1 in `dim`. The first of equal values wins, a
  /// NaN before everything.
  void (*arg_reduce)(ReduceOp op, const Tensor& x, int dim, const Tensor& values,
                     const Tensor& indices);
  /// The first values.size(dim) of the sorted order. Equal values keep their order; a NaN is larger
  /// than every number.
  void (*sort)(const Tensor& x, int dim, bool descending, const Tensor& values,
               const Tensor& indices);
  /// Running sums from the first element on, or (reverse) from the last.
  void (*cumsum)(const Tensor& x, int dim, bool reverse, const Tensor& out);
  /// e^(x - m) / sum e^(x - m), m the maximum, or its logarithm. Reals.
  void (*softmax)(const Tensor& x, int dim, bool log, const Tensor& out);

  // convolution (conv.hpp): everything dense; any operand may be empty, `bias` undefined. Where the
  // operands are bf16, sums, bias and the gradient of the weight are f32
  void (*conv2d)(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
                 const Tensor& out);
  void (*conv2d_backward_input)(const Tensor& gradient, const Tensor& weight,
                                const Conv2dOptions& o, const Tensor& out);
  void (*conv2d_backward_weight)(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                                 const Tensor& out);

  // pooling (pool.hpp): images [N, H, W, C], everything dense
  /// `indices` (i32, like out): where the maximum was found, row * W + column.
  void (*max_pool2d)(const Tensor& x, const functors::PoolWindows& rows,
                     const functors::PoolWindows& columns, const Tensor& out,
                     const Tensor& indices);
  /// out[n, p, q, c] = x[n, indices[n, p, q, c], c]
  void (*max_pool2d_select)(const Tensor& x, const Tensor& indices, const Tensor& out);
  /// out[n, k, c] = sum of gradient[n, p, q, c] where indices[n, p, q, c] = k
  void (*max_pool2d_backward)(const Tensor& gradient, const Tensor& indices, const Tensor& out);
  void (*avg_pool2d)(const Tensor& x, const functors::PoolWindows& rows,
                     const functors::PoolWindows& columns, const Tensor& out);
  /// out[n, h, w, c] = sum of gradient[n, p, q, c] / divisor over the windows that cover (h, w)
  void (*avg_pool2d_backward)(const Tensor& gradient, const functors::PoolWindows& rows,
                              const functors::PoolWindows& columns, const Tensor& out);

  // normalisation (norm.hpp): everything dense, f32 or f64; x, residual, out and their gradients
  // may be bf16 with everything else f32, but in layer_norm
  /// Mean, biased variance and 1 / sqrt(var + eps), [C], of the channels of x [..., C].
  void (*batch_norm_statistics)(const Tensor& x, double eps, const Tensor& mean, const Tensor& var,
                                const Tensor& rstd);
  /// running = (1 - momentum) running + momentum factor batch. `running` may have any strides and
  /// may be bf16.
  void (*running_average)(const Tensor& batch, double factor, double momentum,
                          const Tensor& running);
  /// out = z = (x - mean) rstd weight + bias, or max(z + residual, 0) if in.relu; `residual` may be
  /// undefined (0).
  void (*batch_norm)(const BatchNormInput& in, const Tensor& residual, const Tensor& out);
  /// Gradients when mean and rstd are x's own. `y` is the output if there was a residual, else
  /// undefined.
  void (*batch_norm_backward)(const BatchNormInput& in, const Tensor& y, const Tensor& gradient,
                              const BatchNormGradients& out);
  /// out = (x - mean) rstd for each row of x [rows, columns]; gives the statistics [rows] too.
  void (*layer_norm)(const Tensor& x, double eps, const Tensor& out, const Tensor& mean,
                     const Tensor& rstd);
  void (*layer_norm_backward)(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                              const Tensor& rstd, const Tensor& out);

  // matrices: the last two dimensions; those before them are the batch
  /// out[.., m, n] = a[.., m, k] b[.., k, n] + bias[n] (may be undefined). a and b have out's batch
  /// dimensions (stride 0: broadcast) and came through for_matrix_kernel. bias and out are dense.
  /// Where a and b are bf16, sums and bias are f32, and out is either.
  void (*matmul)(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out);
  /// out[.., n, n] = the lower Cholesky factors of x, zeros above them; reads x's lower triangles.
  /// Error naming the first leading minor that is not positive. out is dense.
  void (*cholesky)(const Tensor& x, const Tensor& out);
  /// Overwrites x[.., n, m] (dense) with the solution y of a y = x, a[.., n, n] triangular and laid
  /// out as for matmul.
  void (*solve_triangular)(const Tensor& a, bool upper, const Tensor& x);
  /// Ascending eigenvalues [.., n] of the symmetric x[.., n, n], whose lower triangles are read,
  /// and the eigenvectors as columns of `vectors` [.., n, n], which may be undefined. x is finite,
  /// the outputs are dense.
  void (*eigh)(const Tensor& x, const Tensor& values, const Tensor& vectors);
  /// Descending singular values [.., min(n, m)] of x[.., n, m], which is finite; dense.
  void (*svdvals)(const Tensor& x, const Tensor& values);

  // indexing: `index` is i64 and in range
  /// The first index, in row-major order, that is not in [0, size).
  std::optional<std::int64_t> (*index_outside)(const Tensor& index, std::int64_t size);
  /// out[.., i, ..] = x[.., index[.., i, ..], ..] with i in dimension dim; out has index' shape.
  void (*gather)(const Tensor& x, int dim, const Tensor& index, const Tensor& out);
  /// out[.., index[.., i, ..], ..] += src[.., i, ..], in ascending order of i; src has index'
  /// shape.
  void (*scatter_add)(int dim, const Tensor& index, const Tensor& src, const Tensor& out);
  /// Coordinates of the elements that are not 0, in row-major order: i64 [count, x.dim()].
  Tensor (*nonzero)(const Tensor& x);

  // optimisers: lists with an entry per parameter, whose tensors are dense, of one shape and dtype,
  // and updated in place; the formulas are in optimizer.hpp. A momentum and `norms` (f64, [2, n])
  // may be undefined.
  void (*sgd_step)(std::span<const SgdStep> steps, const Tensors& parameters,
                   const Tensors& gradients, const Tensors& momenta, const Tensor& norms);
  void (*adam_step)(std::span<const AdamStep> steps, const Tensors& parameters,
                    const Tensors& gradients, const Tensors& means, const Tensors& squares);
  /// x += weight (y - x).
  void (*lerp)(double weight, const Tensors& xs, const Tensors& ys);
  /// out[i] = the sum of (x + factor y)^2 in f64; y may be undefined.
  void (*squared_norms)(const Tensors& xs, std::span<const double> factors, const Tensors& ys,
                        const Tensor& out);

  // augmentation (image.hpp), on GPUs only: out is dense; params [B, P] has rows of stride 1
  void (*sample_images)(const StoredImages& stored, const Tensor& indices,
                        const image_steps::ResizedCrop& step, const Tensor& params,
                        const Tensor& out) = nullptr;
  /// `in` is dense, and `out` itself unless the size changes.
  void (*image_step)(const ImageStep& step, const Tensor& params, const Tensor& in,
                     const Tensor& out) = nullptr;
};

/// What a slot points to: `KernelFunction<&Kernels::copy> copy;` declares such a function.
template <auto kSlot>
using KernelFunction = std::remove_pointer_t<std::remove_cvref_t<decltype(Kernels{}.*kSlot)>>;

const Kernels& kernels(Device device);

[[noreturn]] void fail_no_kernel(std::string_view op, Device device);

/// Appends the tensors of a kernel's argument, in order: what an observer is told. Of StoredImages
/// none: a kernel reads a few images out of all.
inline void append_tensors(std::vector<const Tensor*>& to, const Tensor& x) { to.push_back(&x); }
inline void append_tensors(std::vector<const Tensor*>& to, const Tensors& xs) {
  for (const Tensor& x : xs) to.push_back(&x);
}
inline void append_tensors(std::vector<const Tensor*>& to, const BatchNormInput& in) {
  to.insert(to.end(), {&in.x, &in.mean, &in.rstd, &in.weight, &in.bias});
}
inline void append_tensors(std::vector<const Tensor*>& to, const BatchNormGradients& out) {
  to.insert(to.end(), {&out.x, &out.weight, &out.bias, &out.residual});
}
template <class T>
void append_tensors(std::vector<const Tensor*>&, const T&) {}

/// A kernel on behalf of an operation. Calling it calls the function in the slot, and tells the
/// observer of the thread if there is one.
template <class Function>
class KernelHandle;

template <class Result, class... Args>
class KernelHandle<Result(Args...)> {
 public:
  KernelHandle(Result (*function)(Args...), std::string_view op) : function_(function), op_(op) {}

  Result operator()(Args... args) const {
    if (!current_observer) [[likely]]
      return function_(args...);
    std::vector<const Tensor*> tensors;
    (append_tensors(tensors, args), ...);
    const Span span([&] {
      return KernelCall{op_, reinterpret_cast<void (*)()>(function_), tensors};
    });
    return function_(args...);
  }

 private:
  Result (*function_)(Args...);
  std::string_view op_;
};

/// The kernel in a slot of the device's table; Error naming `op` if the slot is empty.
template <class Function>
KernelHandle<Function> kernel(Function* Kernels::*slot, Device device, std::string_view op) {
  Function* found = kernels(device).*slot;
  if (!found) [[unlikely]]
    fail_no_kernel(op, device);
  return {found, op};
}

/// Throws Error unless all tensors are on one device; returns it.
Device common_device(std::string_view op,
                     std::initializer_list<std::reference_wrapper<const Tensor>> tensors);

/// x without history and, if need be, copied so that in every matrix (the last two dimensions) one
/// stride is 1 and the other no smaller than that row or column is long; sizes of 1 do not count.
Tensor for_matrix_kernel(const Tensor& x);

}  // namespace invar
