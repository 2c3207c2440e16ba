#pragma once
// Differential entropy of embeddings, in nats; f32 and f64, gradients of any order.
//
//   z [.., n, d]    n samples of d dimensions. The dimensions before them are a batch, and so is
//                   what comes out [..]: the views of a training step, stacked, are one call.
//
//   gaussian_entropy   of N(., Sigma), Sigma given. The largest entropy of any density with that
//                      covariance: an upper bound on H(Z) if Sigma is Z's.
//   logdet_entropy     the same with the covariance of the samples, plus beta I. An estimate; below
//                      the truth on average, by wishart_bias.
//   pairwise_entropy   of the mixture of n Gaussians N(z_i, s2 I): an upper and a lower bound on
//                      *its* entropy.
//   mixture_information   that entropy itself, less a component's, by Monte Carlo.
//
// Note [What entropies may be compared]: differential entropy moves by d log a when z is scaled by
// a, and both estimators move with n and d. Compare at equal n, d, beta or s2, and at a declared
// scale of z; pairwise_information is the part that is in [0, log n] whatever the scale's unit.
#include <cstdint>
#include <invar/core/tensor.hpp>

namespace invar::ssl {

/// x^T x / (n - 1) with x = z - mean over the samples: [.., d, d].
Tensor covariance(const Tensor& z);

/// d/2 log(2 pi e) + 1/2 logdet Sigma of Sigma [.., d, d], positive definite.
Tensor gaussian_entropy(const Tensor& sigma);

struct LogDetOptions {
  /// Added to the diagonal of the covariance, in units of z^2. Under an invariance term that is a
  /// mean squared error the weight of the entropy only rescales z for beta -> 0: beta is what to
  /// tune. At 0, n must be greater than d; in f32, values below 1e-6 of the largest eigenvalue
  /// drown in rounding.
  double beta = 1e-3;
  /// Subtract wishart_bias: unbiased for Gaussian samples and beta = 0. A constant; n > d.
  bool correct_bias = false;
};

/// d/2 log(2 pi e) + 1/2 logdet(covariance(z) + beta I). For n < d it is taken from the n x n
/// matrix x x^T / (n - 1), which has the same eigenvalues but for d - n zeros:
///
///   logdet(x^T x / (n-1) + beta I_d) = logdet(x x^T / (n-1) + beta I_n) + (d - n) log beta
///
/// Products are computed in z's dtype, the determinant of the result in f64.
Tensor logdet_entropy(const Tensor& z, const LogDetOptions& options = {});

/// Psi(x), the derivative of log Gamma(x), x > 0; relative error 1e-14 away from its zero 1.46163.
double digamma(double x);

/// E[1/2 logdet S] - 1/2 logdet Sigma for the covariance S of n samples of N(., Sigma), where
/// (n-1) S has Wishart's distribution:
///
///   1/2 (sum_{i=1..d} psi((n-i)/2) + d log(2/(n-1)))
///
/// Negative; -19.9 nats at n 256, d 128. Error unless n > d (else S is singular).
double wishart_bias(std::int64_t n, std::int64_t d);

/// D_ij = |z_i - z_j|^2: [.., n, n], at least 0, on the diagonal exactly. By a product of matrices,
/// so what is below about 1e-7 of the largest |z_i - mean|^2 is rounding in f32: take f64 for it.
Tensor squared_distances(const Tensor& z);

/// Which distance between components (Kolchinsky and Tracey, "Estimating mixture entropy with
/// pairwise distances", 2017). For Gaussians of one covariance s2 I both are D_ij / (c s2).
enum class PairwiseBound {
  upper,  ///< Kullback-Leibler: c = 2
  lower,  ///< Bhattacharyya: c = 8
};

double pairwise_constant(PairwiseBound bound);  ///< c

/// log n - mean_i logsumexp_j(-D_ij / (c s2)), in [0, log n]: what Z tells of which component it
/// came from. An upper (lower) bound on that for the mixture of N(z_i, s2 I). It depends on D / s2
/// alone, and is flat (no gradient) where all D_ij are far from s2: start at pairwise_s2.
Tensor pairwise_information(const Tensor& z, double s2, PairwiseBound bound);

/// d/2 log(2 pi e s2) + pairwise_information: an upper (lower) bound on the entropy of the mixture.
/// Both are exact where all components coincide and where all are far apart.
Tensor pairwise_entropy(const Tensor& z, double s2, PairwiseBound bound);

/// What the bounds of pairwise_information enclose, from one draw z_i + s e_i of each component,
/// e = noise [.., n, d] standard normal:
///
///   log n - mean_i logsumexp_j((|e_i|^2 - |z_i + s e_i - z_j|^2 / s2) / 2)
///
/// Its expected value is the information between the mixture and its component, that is the
/// mixture's entropy less d/2 log(2 pi e s2). At most log n; the standard error is that of the mean
/// of n terms.
Tensor mixture_information(const Tensor& z, double s2, const Tensor& noise);

/// The s2 at which the typical term counts: median_{i<j} D_ij / (c log n), of z [n, d] with n >= 2
/// (of an even number of distances the lower median). Error if it is 0: at least half of the pairs
/// coincide.
double pairwise_s2(const Tensor& z, PairwiseBound bound);

}  // namespace invar::ssl
