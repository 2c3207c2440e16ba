#pragma once
// Reductions over some dimensions (all of them when `dims` is empty). `keepdim` leaves the reduced
// dimensions with size 1.
#include <invar/core/tensor.hpp>

namespace invar {

/// Sum; of booleans and small integers in i64. Empty: 0. Accumulates in f64.
Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// Sum over what broadcasting `shape` to x's shape added or expanded: the gradient of broadcasting.
Tensor sum_to(const Tensor& x, const Dims& shape);
/// Mean; Error for an integer dtype. Empty: NaN.
Tensor mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false);

}  // namespace invar
