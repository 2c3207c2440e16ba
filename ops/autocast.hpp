#pragma once
// The policy of mixed precision: which operation computes in which precision where autocast is on
// (core/autocast.hpp). An operation asks for its operands by its name in the table,
//
//   const Tensor x = autocast("conv2d", input);
//
// and a name that is not there does not compile.
//
//   bf16   f32 operands are rounded to bf16; products are added up in f32, and the result is bf16.
//          Parameters (the weight of conv2d and linear, their bias) are passed on as they are, f32:
//          the operation rounds the weight itself (lowered()), so that its gradient is the f32 sum
//          and never rounded.
//   f32    bf16 operands are converted to f32, and so the result is f32.
//
// Any other operation takes what it gets: relu, add, pooling, batch-norm keep activations and their
// gradients in bf16 (batch-norm with f32 parameters, statistics and sums), and f32 beside bf16
// meets in f32. f64 and integers are never touched. Casts are operations with a gradient (to()).
#include <invar/core/autocast.hpp>
#include <invar/core/tensor.hpp>
#include <string_view>

namespace invar {

struct AutocastEntry {
  std::string_view op;
  DType dtype;
};

inline constexpr AutocastEntry kAutocastTable[] = {
    // where nearly all of the arithmetic is
    {"conv2d", DType::bf16},
    {"conv2d_backward_input", DType::bf16},
    {"conv2d_backward_weight", DType::bf16},
    {"einsum", DType::bf16},
    {"linear", DType::bf16},
    {"matmul", DType::bf16},
    // sums of many terms, and what is made of them
    {"cumsum", DType::f32},
    {"layer_norm", DType::f32},
    {"logsumexp", DType::f32},
    {"norm", DType::f32},
    {"normalize", DType::f32},
    {"prod", DType::f32},
    {"softmax", DType::f32},
    {"log_softmax", DType::f32},
    {"std", DType::f32},
    {"sum", DType::f32},
    {"var", DType::f32},
    // losses (an ssl::Objective turns autocast off: its matrix products are f32 as well)
    {"cross_entropy", DType::f32},
    {"mse_loss", DType::f32},
    // kernels that have no bf16
    {"cholesky", DType::f32},
    {"eigh", DType::f32},
    {"eigvalsh", DType::f32},
    {"logdet", DType::f32},
    {"solve_triangular", DType::f32},
    {"svdvals", DType::f32},
};

/// A line of the table, found at compile time.
class AutocastRule {
 public:
  consteval AutocastRule(const char* op) : dtype_(find(op)) {}
  DType dtype() const { return dtype_; }

 private:
  static consteval DType find(std::string_view op) {
    for (const AutocastEntry& entry : kAutocastTable) {
      if (entry.op == op) return entry.dtype;
    }
    throw "not in kAutocastTable";
  }

  DType dtype_;
};

/// to(x, dtype) if x is f32 or bf16, else x.
Tensor cast_reduced(const Tensor& x, DType dtype);

/// x in the dtype that the rule asks for: x itself where autocast is off, and where x is undefined,
/// f64 or of integers.
inline Tensor autocast(AutocastRule rule, const Tensor& x) {
  if (autocast_dtype == DType::f32) [[likely]]
    return x;
  return cast_reduced(x, rule.dtype());
}

/// The values of a parameter in `dtype`, without history; the parameter itself if it has the dtype.
/// Copies of leaves that require grad are cached until their bytes change, of at most
/// CastCacheStats::capacity parameters.
Tensor lowered(const Tensor& parameter, DType dtype);

struct CastCacheStats {
  std::size_t entries = 0;
  std::size_t capacity = 0;
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
};

CastCacheStats cast_cache_stats();

}  // namespace invar
