#pragma once
// VIbCReg (Lee and Aptoula, "VIbCReg: Variance-Invariance-better-Covariance Regularization", 2021),
// with the loss as in solo-learn: VICReg, but for a covariance term on correlations.
//
//   z, z'            embeddings [n, d] of two views, whitened by IterNorm if `iter_norm` > 0
//   invariance       s = mean over n and d of (z - z')^2
//   variance         v(z) = 1/d sum_j max(0, 1 - sqrt(Var(z_j) + 1e-4)),  Var unbiased
//   covariance       c(z) = 1/d^2 sum_{i != j} R_ij^2,  R the correlations of z's dimensions
//   loss             25 s + 25 (v(z) + v(z')) + 200 (c(z) + c(z'))
//
// IterNorm (Huang and others, CVPR 2019) with T = iter_norm steps, 5 in the paper, of `group`
// dimensions at a time (solo-learn has 64 groups, 32 each of 2048): with S = Cov(z) + 1e-5 I
// (population), S_N = S / tr S, P_0 = I, P_k = (3 P - P^3 S_N) / 2 of P = P_{k-1}, the result is
// (z - mean) P_T / sqrt(tr S), on the way to (z - mean) S^(-1/2). Five steps go far enough in small
// groups alone: where z is white but for its scale the standard deviation comes to .91 in a group
// of 32 and to .33 in one of 512, which no scaling of z makes good. Off by default; solo-learn has
// a learned scale and shift behind it, which is not here. More than two views: as in vicreg.hpp.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class VibcReg : public Objective {
 public:
  struct Options {
    double invariance = 25;
    double variance = 25;
    double covariance = 200;
    int iter_norm = 0;        ///< steps T; 0: no whitening
    std::int64_t group = 32;  ///< divides d; all of d where that is smaller
  };
  explicit VibcReg(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "invariance", "variance", "covariance", unweighted.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// z [n, d] whitened by `steps` of Newton's iteration, `group` dimensions at a time: see the top of
/// this file.
Tensor iterative_norm(const Tensor& z, int steps, std::int64_t group);

}  // namespace invar::ssl
