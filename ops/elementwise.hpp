#pragma once
// Elementwise operations. Two tensors broadcast (shapes aligned at the last dimension, sizes equal
// or 1) and meet in promote(a.dtype, b.dtype). A scalar takes the tensor's dtype; a fractional
// scalar converts an integer tensor to f32 first, any scalar a boolean one, and so does every
// function of reals. Integers that leave their range wrap around, here and in sums and products.
// Each rule stands beside its function in elementwise.cpp; where a derivative has a jump, the value
// used is given here.
#include <invar/core/tensor.hpp>

namespace invar {

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
/// True division: integers give f32.
Tensor div(const Tensor& a, const Tensor& b);
Tensor add(const Tensor& a, double b);
Tensor sub(const Tensor& a, double b);
Tensor mul(const Tensor& a, double b);
Tensor div(const Tensor& a, double b);
Tensor sub(double a, const Tensor& b);
Tensor div(double a, const Tensor& b);
Tensor neg(const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator+(const Tensor& a, double b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, double b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, double b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, b); }
inline Tensor operator+(double a, const Tensor& b) { return add(b, a); }
inline Tensor operator-(double a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(double a, const Tensor& b) { return mul(b, a); }
inline Tensor operator/(double a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

/// a^b. The gradient of b is 0 where a = 0 and b >= 0. Of integers it is an integer; with b < 0, 0
/// unless |a| = 1. A number b leaves integers what they are if it is one of theirs and at least 0.
Tensor pow(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& a, double b);
Tensor square(const Tensor& x);
Tensor exp(const Tensor& x);
/// e^x - 1, accurate near 0.
Tensor expm1(const Tensor& x);
Tensor log(const Tensor& x);
/// log(1 + x), accurate near 0.
Tensor log1p(const Tensor& x);
Tensor sqrt(const Tensor& x);
/// 1 / sqrt(x).
Tensor rsqrt(const Tensor& x);
Tensor reciprocal(const Tensor& x);
/// Gradient at 0: 0.
Tensor abs(const Tensor& x);
/// -1, 0 or 1, NaN for NaN; gradient 0.
Tensor sign(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor sigmoid(const Tensor& x);
/// max(x, 0); gradient at 0: 0.
Tensor relu(const Tensor& x);
/// x where x > 0, else slope x.
Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
enum class GeluApproximation { none, tanh };
/// x Phi(x), Phi the normal distribution function, or its tanh approximation.
Tensor gelu(const Tensor& x, GeluApproximation approximation = GeluApproximation::none);
/// x sigmoid(x).
Tensor silu(const Tensor& x);
/// log(1 + e^(beta x)) / beta; x itself where beta x > threshold.
Tensor softplus(const Tensor& x, double beta = 1, double threshold = 20);
/// Gradient 0.
Tensor floor(const Tensor& x);
Tensor ceil(const Tensor& x);
/// To nearest, ties to even; gradient 0.
Tensor round(const Tensor& x);
/// Into [low, high]; gradient 1 inside, 0 outside and on the bounds (as in PyTorch 2.15; older
/// versions have 1 on them).
Tensor clamp(const Tensor& x, double low, double high);
/// A NaN wins; where a = b each gets half of the gradient.
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);
/// condition ? a : b, elementwise; `condition` is boolean.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, double b);

// Comparisons give booleans and have no gradient.
Tensor eq(const Tensor& a, const Tensor& b);
Tensor ne(const Tensor& a, const Tensor& b);
Tensor lt(const Tensor& a, const Tensor& b);
Tensor le(const Tensor& a, const Tensor& b);
Tensor gt(const Tensor& a, const Tensor& b);
Tensor ge(const Tensor& a, const Tensor& b);
Tensor eq(const Tensor& a, double b);
Tensor ne(const Tensor& a, double b);
Tensor lt(const Tensor& a, double b);
Tensor le(const Tensor& a, double b);
Tensor gt(const Tensor& a, double b);
Tensor ge(const Tensor& a, double b);
/// True where a real is NaN.
Tensor isnan(const Tensor& x);
/// True where a real is neither NaN nor infinite; of other numbers everywhere.
Tensor isfinite(const Tensor& x);
/// Of booleans.
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& a);

// In place: the operand is broadcast and converted to x; in_place.hpp says when it is allowed.
// Error where x holds integers and the operand does not. Each returns x.
Tensor add_(const Tensor& x, const Tensor& y);
Tensor add_(const Tensor& x, double y);
Tensor sub_(const Tensor& x, const Tensor& y);
Tensor sub_(const Tensor& x, double y);
Tensor mul_(const Tensor& x, const Tensor& y);
Tensor mul_(const Tensor& x, double y);
Tensor div_(const Tensor& x, const Tensor& y);
Tensor div_(const Tensor& x, double y);
Tensor clamp_(const Tensor& x, double low, double high);

}  // namespace invar
