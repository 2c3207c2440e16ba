#pragma once
// Many values to one, and what works along one dimension.
//
// `dims` names the dimensions to reduce (all of them when it is empty), `keepdim` leaves them with
// size 1. Sums and products of f32 are accumulated in f64. Results have the same bits for any
// number of threads. A NaN is larger than every number: it wins in amax, max, argmax and in amin,
// min and argmin too, as in PyTorch.
#include <concepts>
#include <initializer_list>
#include <invar/core/tensor.hpp>

namespace invar {

/// Sum; of booleans and integers in i64. Empty: 0.
Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// Sum over what broadcasting `shape` to x's shape added or expanded: the gradient of broadcasting.
Tensor sum_to(const Tensor& x, const Dims& shape);
/// Mean of reals. Empty: NaN.
Tensor mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// sum (x - mean)^2 / max(n - correction, 0). Correction 1 is the unbiased estimate, 0 the variance
/// of the population. One value with correction 1: NaN.
Tensor var(const Tensor& x, const Dims& dims = {}, double correction = 1, bool keepdim = false);
/// `true` would be the correction: write var(x, dims, 1, true).
Tensor var(const Tensor& x, const Dims& dims, std::same_as<bool> auto keepdim) = delete;
/// sqrt(var); gradient 0 where it is 0. After `using namespace invar` write invar::std(x): `std`
/// alone is then ambiguous with the standard library's namespace.
Tensor std(const Tensor& x, const Dims& dims = {}, double correction = 1, bool keepdim = false);
Tensor std(const Tensor& x, const Dims& dims, std::same_as<bool> auto keepdim) = delete;
/// Product; of booleans and integers in i64. Empty: 1. The gradient is right where values are 0,
/// too.
Tensor prod(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// Largest value; Error if there is none. Equal largest values share the gradient.
Tensor amax(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// Smallest value, likewise.
Tensor amin(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// x != 0 somewhere. Empty: false.
Tensor any(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// x != 0 everywhere. Empty: true.
Tensor all(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// log(sum e^x) without overflow; infinities count as such. Empty or all -inf: -inf, with gradient
/// 0.
Tensor logsumexp(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
/// (sum |x|^p)^(1/p) for p = 1, 2 or infinity (the largest |x|). Empty: 0. Gradient where it is 0:
/// 0. Squares of f64 beyond 1e154 overflow.
Tensor norm(const Tensor& x, double p = 2, const Dims& dims = {}, bool keepdim = false);
/// norm(x, {1}) would be p = 1: write norm(x, 2, {1}).
template <class T, class... Rest>
Tensor norm(const Tensor& x, std::initializer_list<T> dims, Rest... rest) = delete;

struct ValuesAndIndices {
  Tensor values;
  Tensor indices;  ///< i64, along the dimension
};

/// Largest value along a dimension and the first index where it stands, which gets the gradient.
ValuesAndIndices max(const Tensor& x, int dim, bool keepdim = false);
/// Smallest value, likewise.
ValuesAndIndices min(const Tensor& x, int dim, bool keepdim = false);
/// First index of the largest value (i64): along a dimension, or of all elements in row-major
/// order.
Tensor argmax(const Tensor& x, int dim, bool keepdim = false);
Tensor argmax(const Tensor& x);
/// First index of the smallest value.
Tensor argmin(const Tensor& x, int dim, bool keepdim = false);
Tensor argmin(const Tensor& x);
/// `true` would be the dimension: write max(x, dim, true).
ValuesAndIndices max(const Tensor& x, std::same_as<bool> auto keepdim) = delete;
ValuesAndIndices min(const Tensor& x, std::same_as<bool> auto keepdim) = delete;
Tensor argmax(const Tensor& x, std::same_as<bool> auto keepdim) = delete;
Tensor argmin(const Tensor& x, std::same_as<bool> auto keepdim) = delete;

/// The elements along a dimension in ascending order, and where they stood. Equal elements keep
/// their order; NaNs come last (descending: first).
ValuesAndIndices sort(const Tensor& x, int dim = -1, bool descending = false);
/// The k largest elements, largest first (or the k smallest, smallest first): the beginning of what
/// sort gives, so of equal elements the earlier one comes first.
ValuesAndIndices topk(const Tensor& x, std::int64_t k, int dim = -1, bool largest = true);
/// `true` would be the dimension: write sort(x, -1, true), topk(x, k, -1, false).
ValuesAndIndices sort(const Tensor& x, std::same_as<bool> auto descending) = delete;
ValuesAndIndices topk(const Tensor& x, std::int64_t k, std::same_as<bool> auto largest) = delete;

/// e^x / sum e^x along a dimension, without overflow. NaN where a line is all -inf or has +inf.
Tensor softmax(const Tensor& x, int dim);
/// log(softmax(x)), without underflow.
Tensor log_softmax(const Tensor& x, int dim);
/// Running sum along a dimension; of booleans and integers in i64.
Tensor cumsum(const Tensor& x, int dim);
/// x / max(|x|_2, eps), the norm taken along a dimension.
Tensor normalize(const Tensor& x, int dim = 1, double eps = 1e-12);
Tensor normalize(const Tensor& x, std::floating_point auto eps) = delete;

}  // namespace invar
