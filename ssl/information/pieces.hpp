#pragma once
// What several measures are made of, of samples z [.., n, d] or rows x [.., n, d].
#include <invar/core/tensor.hpp>

namespace invar::ssl {

/// log(2 pi e): a standard normal's entropy is half of it.
inline constexpr double kLog2PiE = 2.8378770664093453;

/// x = (z - mean over the samples) / sqrt(n - 1): x^T x is the covariance.
Tensor centred(const Tensor& z);

/// x x^T if n < d, else x^T x. But for zeros the two have the same eigenvalues.
Tensor smaller_gram(const Tensor& x);

/// d/2 log(2 pi e) + 1/2 logdet(x^T x + beta I) - bias, of the smaller Gram matrix:
///
///   logdet(x^T x + beta I_d) = logdet(x x^T + beta I_n) + (d - n) log beta
///
/// Products are computed in x's dtype, the determinant of the result in f64.
Tensor logdet_entropy_of_rows(const Tensor& x, double beta, double bias = 0);

/// Of a matrix [n, n], what stands above the diagonal: [n (n - 1) / 2].
Tensor above_diagonal(const Tensor& matrix);

/// Of an even number of values the lower one of the two in the middle.
double lower_median(const Tensor& values);

/// The rows of z [n, d] at length sqrt(d), that of independent coordinates of unit variance.
Tensor rows_of_unit_variance(const Tensor& z);

}  // namespace invar::ssl
