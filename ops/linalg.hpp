#pragma once
// Linear algebra, and the triangles and diagonals of matrices. Functions of matrices take the last
// two dimensions as the matrix and those before as a batch.
#include <invar/core/tensor.hpp>

namespace invar {

/// The elements x[.., i, i + offset] over (dim1, dim2), as a view; they are the last dimension.
Tensor diagonal(const Tensor& x, std::int64_t offset = 0, int dim1 = 0, int dim2 = 1);
/// A vector becomes a matrix that is zero but for its diagonal `offset`; of a matrix, a copy of
/// that diagonal.
Tensor diag(const Tensor& x, std::int64_t offset = 0);
/// The sum of a matrix' diagonal.
Tensor trace(const Tensor& x);
/// x where column - row <= offset, else 0.
Tensor tril(const Tensor& x, std::int64_t offset = 0);
/// x where column - row >= offset, else 0.
Tensor triu(const Tensor& x, std::int64_t offset = 0);

/// The lower triangular L with L L^T = x, for symmetric positive definite x [.., n, n]; only the
/// lower triangle of x is read. Its gradient is symmetric, as if both triangles had been. Error
/// naming the first leading minor that is not positive.
Tensor cholesky(const Tensor& x);
/// log det x for symmetric positive definite x [.., n, n]: 2 sum_i log L[i, i].
Tensor logdet(const Tensor& x);
/// The x [.., n, m] with a x = b, for triangular a [.., n, n], of which only the `upper` (else
/// lower) triangle is read; for left = false, the x [.., m, n] with x a = b. To solve with the
/// transpose of a, pass transpose(a) and the other triangle; it costs no copy. A zero on the
/// diagonal gives infinities and NaNs.
Tensor solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool left = true);

struct Eigh {
  Tensor values;   ///< [.., n], ascending
  Tensor vectors;  ///< [.., n, n]: column i belongs to value i; orthonormal, signs arbitrary
};

/// x = V diag(values) V^T for symmetric x [.., n, n]; only the lower triangle is read.
///
/// Note [Equal eigenvalues]: gradients are symmetric, as if both triangles had been read, and right
/// wherever what is differentiated exists. Where values repeat,
///   - a first gradient through the values is that of one choice of vectors: right for functions
///     that treat equal values alike (sums, products, entropies of a spectrum), else one of many;
///   - a gradient through their vectors does not exist: expect infinities, NaN or noise. One that
///     comes through the vectors of other values alone is right;
///   - a second gradient through eigvalsh, svdvals or eigh's values exists at most for functions
///     that treat equal values alike. Asking for one (create_graph) is an Error.
/// Values that nearly repeat have gradients through the vectors as large as 1 / their distance.
Eigh eigh(const Tensor& x);
/// The eigenvalues alone, at a fraction of the time; a backward pass makes the vectors.
Tensor eigvalsh(const Tensor& x);
/// The singular values of x [.., n, m], descending: [.., min(n, m)]. Their gradient comes from the
/// eigenvectors of the smaller Gram matrix, in f64: of values below some 1e-7 of the largest it is
/// noise (of size 1), at 0 it does not exist.
Tensor svdvals(const Tensor& x);

}  // namespace invar
