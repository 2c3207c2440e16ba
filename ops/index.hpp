#pragma once
// Picking, placing, joining and padding elements. Indices are i64 in [0, size) (an error names the
// first that is not) and may repeat. Contributions to one element are added in ascending order of
// the index' position, whatever the number of threads.
#include <invar/core/tensor.hpp>
#include <vector>

namespace invar {

/// y[i, j, k] = x[i, index[i, j, k], k] for dim = 1. `index` has as many dimensions as x and is no
/// larger in the others.
Tensor gather(const Tensor& x, int dim, const Tensor& index);
/// x with src[i, j, k] added at [i, index[i, j, k], k] for dim = 1; src has index' shape.
Tensor scatter_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src);
/// The slices index[0], index[1], ... of dimension dim; `index` is 1-D.
Tensor index_select(const Tensor& x, int dim, const Tensor& index);
/// Rows of weight [count, width]: [index.shape .., width].
Tensor embedding(const Tensor& weight, const Tensor& index);
/// The elements where the boolean `mask` is true, in row-major order (1-D); both broadcast.
Tensor masked_select(const Tensor& x, const Tensor& mask);
/// The coordinates of the elements that are not 0, in row-major order: i64 [count, x.dim()].
Tensor nonzero(const Tensor& x);
/// i64 [index.shape .., classes], 1 at each index and 0 elsewhere.
Tensor one_hot(const Tensor& index, std::int64_t classes);

/// Tensors joined along an existing dimension; they are equal in the others, and meet in the widest
/// dtype.
Tensor cat(const Tensors& tensors, int dim = 0);
/// Tensors of one shape joined along a new dimension.
Tensor stack(const Tensors& tensors, int dim = 0);
/// x, repeats[i] times along dimension i; more repeats than dimensions add leading ones.
Tensor repeat(const Tensor& x, const Dims& repeats);
/// The order of the elements of some dimensions reversed.
Tensor flip(const Tensor& x, const Dims& dims);

enum class PadMode {
  constant,   ///< `value`
  reflect,    ///< mirrored at the border element, which is not repeated; less than the size
  replicate,  ///< the border element
};
/// Padding by sizes {before, after} of the last dimension, then of the one before it, ... A
/// negative size crops.
Tensor pad(const Tensor& x, const std::vector<std::int64_t>& sizes,
           PadMode mode = PadMode::constant, double value = 0);

}  // namespace invar
