#pragma once
// Views: tensors over the same bytes with another geometry. They cost no copy, and an in-place
// write through one is seen by all. `reshape` and `flatten` copy when no view can express the
// result. Where nothing changes, reshape, flatten, expand and squeeze return x itself, hooks and
// all.
#include <invar/core/tensor.hpp>

namespace invar {

/// The same elements in row-major order under another shape; one size may be -1 (inferred). Error
/// if the strides do not allow a view.
Tensor view(const Tensor& x, const Dims& shape);
/// view if possible, else a copy.
Tensor reshape(const Tensor& x, const Dims& shape);
/// Merges dimensions start..end (inclusive).
Tensor flatten(const Tensor& x, int start = 0, int end = -1);
/// Dimension i of the result is dimension order[i] of x.
Tensor permute(const Tensor& x, const Dims& order);
/// Swaps two dimensions.
Tensor transpose(const Tensor& x, int dim0 = -2, int dim1 = -1);
/// Drops a dimension of size 1 (all of them in the one-argument form).
Tensor squeeze(const Tensor& x, int dim);
Tensor squeeze(const Tensor& x);
/// Inserts a dimension of size 1.
Tensor unsqueeze(const Tensor& x, int dim);
/// Repeats size-1 dimensions (stride 0) up to `shape`; -1 keeps a size.
Tensor expand(const Tensor& x, const Dims& shape);
/// Elements start, start + step, ... below end of one dimension. Negative bounds count from the
/// end, bounds beyond it are clamped; step >= 1.
Tensor slice(const Tensor& x, int dim, std::int64_t start, std::int64_t end, std::int64_t step = 1);
/// `length` elements from `start` (negative: from the end); Error if they do not exist.
Tensor narrow(const Tensor& x, int dim, std::int64_t start, std::int64_t length);
/// One element of a dimension, which disappears.
Tensor select(const Tensor& x, int dim, std::int64_t index);
/// Pieces of `size` along a dimension; the last may be smaller.
Tensors split(const Tensor& x, std::int64_t size, int dim = 0);

}  // namespace invar
