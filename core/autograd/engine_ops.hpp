#pragma once
// The few operations that the engine itself needs. Declared here and defined in
// ops/engine_ops.cpp, so that core includes nothing of ops.
#include <invar/core/tensor.hpp>

namespace invar::engine_ops {

Tensor add(const Tensor& a, const Tensor& b);
/// a += b, without history.
void add_(const Tensor& a, const Tensor& b);
/// A dense copy.
Tensor clone(const Tensor& x);
Tensor ones_like(const Tensor& x);
/// False iff x contains a NaN or an infinity.
bool all_finite(const Tensor& x);

/// True iff nobody but the caller, who holds one handle, can see these bytes (those of from_blob
/// belong to somebody else) and they are dense: they may be written to or taken over without a
/// copy.
inline bool is_exclusive(const Tensor& x) {
  return x.impl().use_count() == 1 && x.storage()->use_count() == 1 && x.is_contiguous() &&
         !x.storage()->is_foreign() &&
         x.storage()->bytes() == static_cast<std::size_t>(x.numel()) * size_of(x.dtype());
}

}  // namespace invar::engine_ops
