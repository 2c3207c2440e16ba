#pragma once
// What embeddings look like, without labels: how many dimensions they use, how they decay, how
// close views are and how evenly samples spread. z is [n, d] (lidar: [n, views, d]), f32 or
// f64.
//
//   covariance_spectrum    eigenvalues of the covariance, largest first
//   rankme, lidar          exp(entropy) of normalised spectra: an effective rank in [1, d]
//   participation_ratio    another one, from two traces
//   alpha_req              exponent of the spectrum's decay
//   dimension_std          standard deviation per dimension: 0 for a dead one
//   alignment, uniformity  of views and of pairs on the sphere; differentiable
//
// Spectra are computed in f64 and have no gradient. None of these is comparable between different n
// (an effective rank is at most n) or, spectra aside, between different d.
#include <cstdint>
#include <invar/core/tensor.hpp>

namespace invar::ssl {

/// Eigenvalues of covariance(z), descending, f64 [d]; 0 from the n-th on.
Tensor covariance_spectrum(const Tensor& z);

/// exp(-sum_k p_k log p_k), p_k = s_k / sum s + eps, s the singular values of z itself (not
/// centred), eps 1e-7. Garrido, Balestriero, Najman, LeCun, "RankMe", ICML 2023.
double rankme(const Tensor& z);

/// (sum_k l_k)^2 / sum_k l_k^2 of the covariance's eigenvalues l, that is tr(C)^2 / |C|_F^2.
double participation_ratio(const Tensor& z);

/// RankMe's exponential entropy, with the eigenvalues of S_w^-1/2 S_b S_w^-1/2, of z [n, q, d], q
/// >= 2 views of n samples:
///
///   S_b = 1/n     sum_i (m_i - m)(m_i - m)^T,    m_i the mean of the views, m that of the m_i
///   S_w = 1/(n q) sum_i sum_v (z_iv - m_i)(z_iv - m_i)^T + delta I
///
/// Thilak et al., "LiDAR", ICLR 2024, with delta 1e-4.
double lidar(const Tensor& z, double delta = 1e-4);

struct PowerLaw {
  double alpha = 0;      ///< l_k is about k^-alpha
  double r_squared = 0;  ///< of the fit in log-log coordinates
};

/// Least squares line through (log k, log l_k) of the covariance's eigenvalues l_first .. l_last (k
/// counts from 1; last = 0: the last one above 1e-12 l_1). Agrawal et al., "alpha-ReQ", NeurIPS
/// 2022. The result depends on the range: state it. Error if it has fewer than two eigenvalues.
PowerLaw alpha_req(const Tensor& z, std::int64_t first = 1, std::int64_t last = 0);

/// Unbiased standard deviation of each dimension, [d].
Tensor dimension_std(const Tensor& z);

/// mean_i |z_i - z'_i|^power of rows normalised to length 1; a scalar in [0, 2^power]. Wang and
/// Isola, "Alignment and uniformity on the hypersphere", ICML 2020.
Tensor alignment(const Tensor& z, const Tensor& other, double power = 2);

/// log mean_{i<j} exp(-t |z_i - z_j|^2) of rows normalised to length 1, n >= 2; at most 0 (all rows
/// equal). Of the same paper.
Tensor uniformity(const Tensor& z, double t = 2);

}  // namespace invar::ssl
