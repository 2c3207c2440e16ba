#pragma once
// VICReg: variance, invariance, covariance (Bardes, Ponce, LeCun, ICLR 2022), as in the authors'
// code.
//
//   z, z'            embeddings [n, d] of two views; x = z - mean over the batch
//   invariance       s = mean over n and d of (z - z')^2
//   variance         v(z) = 1/d sum_j max(0, gamma - sqrt(Var(z_j) + eps)),  Var unbiased
//   covariance       c(z) = 1/d sum_{i != j} C_ij^2,  C = x^T x / (n - 1)
//   loss             25 s + 25 (v(z) + v(z'))/2 + 1 (c(z) + c(z'))
//
// The authors' code halves the variance term; the paper's text, and some other implementations, do
// not: `halve_variance`. More than two views: s is the mean over all pairs, v and c the sums over
// all views times 2 / (number of views), which is the same for two.
//
// Note [What the covariance term can reach]: for n <= d the covariance matrix has rank n - 1 at
// most and cannot be the identity. With K = d/(n-1) - 1 the best loss is 25 (1 - std*) + 2 K std*^4
// at std* = min(1, (25 / (8K))^(1/3)): losses of different d/n cannot be compared.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class Vicreg : public Objective {
 public:
  struct Options {
    double invariance = 25;
    double variance = 25;
    double covariance = 1;
    double gamma = 1;   ///< standard deviation that the variance term asks for
    double eps = 1e-4;  ///< inside the square root
    bool halve_variance = true;
  };
  explicit Vicreg(const Options& options);  ///< Error if they are out of range

  static Options read_options(JsonReader& reader);

  /// vicreg_floor (ssl/information/vicreg_floor.hpp).
  std::optional<double> floor(std::int64_t n, std::int64_t d) const override;

 private:
  /// Terms: "invariance", "variance", "covariance" (unweighted, halved where the loss halves).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// mean_j max(0, gamma - sqrt(Var(z_j) + eps)) of z [n, d]; a scalar.
Tensor variance_hinge(const Tensor& z, double gamma, double eps);

/// 1/d sum_{i != j} Cov(z)_ij^2 of z [n, d]; a scalar.
Tensor off_diagonal_covariance(const Tensor& z);

}  // namespace invar::ssl
