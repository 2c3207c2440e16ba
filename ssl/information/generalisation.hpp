#pragma once
// The terms of the generalisation bound (Shwartz-Ziv et al., "An information theory perspective on
// VICReg", 2023). With features z = f(x) and one-hot targets y of c classes the paper says, up to a
// term Q that nobody can compute,
//
//   risk <= I(f) + 2/sqrt(m) |P_Z' Y'|_F + 1/sqrt(n) |P_Z Y|_F + Q
//
//   I(f)   mean distance of two views' features, over m unlabelled images
//   P_Z    the projection onto what no linear readout of the features Z [n, d] reproduces, so that
//          |P_Z Y|_F / sqrt(n) is the root mean squared error of the bias-free least squares
//          readout
//   Z', Y' the unlabelled images' features and targets (unknown, so available only in a study)
//
// Note [What may be said of it]: I(f) is not scale-invariant while the risk is: |W_S|_2 I(f), with
// W_S the readout, is, and is reported beside it. The labelled term is 0 wherever the rows of
// Z are independent, rank Z = n, and the true risk peaks at the largest such n: without Q the
// inequality should break there. Predicting 0 has risk
// 1: a right-hand side of 1 or more says nothing. Never "the bound holds": mark violations and
// vacuous values.
#include <cstdint>
#include <invar/core/tensor.hpp>
#include <string>
#include <utility>
#include <vector>

namespace invar::ssl {

struct Readout {
  Tensor weight;           ///< W [d, c], f64: the solution of least norm of min |Z W - Y|_F
  std::int64_t rank = 0;   ///< of Z, singular values above 1e-6 of the largest
  double residual = 0;     ///< |Z W - Y|_F / sqrt(n) = |P_Z Y|_F / sqrt(n)
  double weight_norm = 0;  ///< |W|_2, the largest singular value
};

/// Of features z [n, d] and targets y [n, c]; no bias is added (append a column of ones to z for
/// one). Computed in f64 from the smaller Gram matrix.
Readout least_squares_readout(const Tensor& z, const Tensor& y);

struct BoundTerms {
  double invariance = 0;         ///< I(f) = mean_i |z_i - z'_i|
  double scaled_invariance = 0;  ///< |W_S|_2 I(f)
  double unlabelled = 0;         ///< 2/sqrt(m) |P_Z' Y'|_F; NaN if no targets were given
  double labelled = 0;           ///< 1/sqrt(n) |P_Z Y|_F
  Readout readout;               ///< W_S, of the labelled samples
  /// scaled_invariance + unlabelled + labelled.
  double sum() const { return scaled_invariance + unlabelled + labelled; }
  /// True iff the sum is at least 1, the risk of predicting 0.
  bool vacuous() const { return !(sum() < 1); }
  /// The four by name, as they are logged: "bound_invariance", ...
  std::vector<std::pair<std::string, double>> named() const;
};

/// From the labelled features z [n, d] with targets y [n, c], and two views [m, d] of unlabelled
/// images; their targets [m, c] may be undefined.
BoundTerms bound_terms(const Tensor& z, const Tensor& y, const Tensor& view, const Tensor& other,
                       const Tensor& unlabelled_targets = {});

/// mean_i |W^T z_i - y_i| over a test set: what the bound is about.
double readout_risk(const Readout& readout, const Tensor& z, const Tensor& y);

}  // namespace invar::ssl
