#pragma once
// Elements as they are stored and as they are computed with: bf16 is widened to f32 in registers,
// everything else is what it is.
#include <invar/core/dtype.hpp>
#include <invar/ops/functors/convert.hpp>

namespace invar::functors {

/// What elements stored as S are computed in.
template <class S>
using Computed = std::conditional_t<std::is_same_v<S, BFloat16>, float, S>;

template <class S>
INVAR_HD Computed<S> widen(S x) {
  return convert<Computed<S>>(x);
}

/// Calls f.operator()<S>() for reals: S is how they are stored.
template <class F>
decltype(auto) visit_stored_real(DType dtype, std::string_view op, F&& f) {
  if (dtype == DType::bf16) return f.template operator()<BFloat16>();
  return visit_real(dtype, op, f);
}

/// The same for reals and integers.
template <class F>
decltype(auto) visit_stored_number(DType dtype, std::string_view op, F&& f) {
  if (dtype == DType::bf16) return f.template operator()<BFloat16>();
  return visit_number(dtype, op, f);
}

}  // namespace invar::functors
