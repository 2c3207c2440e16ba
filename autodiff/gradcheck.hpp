#pragma once
// gradcheck: does a function's gradient agree with finite differences?
//
//   auto f = [](const Tensors& x) { return sum(exp(x[0]) * x[1]); };
//   auto result = gradcheck(f, {randn({2, 3}, {.dtype = DType::f64}), randn({3}, ...)});
//   if (!result) fmt::print("{}\n", result.message);
//
// Every f64 input is differentiated; inputs of another dtype (indices, masks) are passed on as they
// are. Every f64 output is checked; outputs that are not floating are ignored. Inputs may have any
// strides and may be empty: f is differentiated at the tensors given, and compared with differences
// at dense copies, so it must also give the same values for both. f must depend on its inputs alone
// (no random numbers) and must not change them.
//
//   small    every entry of the Jacobian d y_i / d x_j, if it has at most 4,096: one backward pass
//            per output element, two evaluations per input element
//   large    the gradient g of s(x) = sum_i v_i y_i(x) for random signs v: g . u for random sign
//            vectors u, and g_j for some random elements j
//
// Differences are central, (y(x + h e_j) - y(x - h e_j)) / 2h: their error is of order h^2 y'''
// + 1e-16 |y| / h, about 1e-10 at h = 1e-5 for numbers of order 1.
#include <cstdint>
#include <invar/autodiff/function.hpp>
#include <invar/core/tensor.hpp>
#include <string>

namespace invar {

struct GradcheckOptions {
  double step = 1e-5;  ///< h, times max(1, |x_j|) where one element is moved
  /// An entry passes iff |analytic - numeric| <= atol + rtol max(|analytic|, |numeric|). In the
  /// large form atol is multiplied by the square root of how many entries were summed, and along a
  /// random direction |g| is in the maximum, too.
  double atol = 1e-8;
  double rtol = 1e-6;
  /// Ignore entries where the slopes to the left and to the right differ (relu at 0, a tie of max):
  /// no gradient is the right one there. An error if more than half of all entries are ignored.
  bool skip_kinks = false;
  std::uint64_t seed = 0;  ///< of the random signs and elements
};

struct GradcheckResult {
  bool ok = true;
  /// Empty if ok, else what differs: input, element, analytic and numeric value, tolerance.
  std::string message;

  explicit operator bool() const { return ok; }
};

/// Checks the gradient of f at `inputs`.
GradcheckResult gradcheck(const TensorsFunction& f, const Tensors& inputs,
                          const GradcheckOptions& options = {});
template <ReturnsTensor F>
GradcheckResult gradcheck(F f, const Tensors& inputs, const GradcheckOptions& options = {}) {
  return gradcheck(returning_one(f), inputs, options);
}

/// Checks the second order: the gradient of (x, v) -> v . df/dx, which create_graph makes
/// differentiable, at `inputs` and random v.
GradcheckResult gradgradcheck(const TensorsFunction& f, const Tensors& inputs,
                              const GradcheckOptions& options = {});
template <ReturnsTensor F>
GradcheckResult gradgradcheck(F f, const Tensors& inputs, const GradcheckOptions& options = {}) {
  return gradgradcheck(returning_one(f), inputs, options);
}

}  // namespace invar
