#pragma once
// Barlow Twins (Zbontar, Jing, Misra, LeCun, Deny, ICML 2021), as in the authors' code.
//
//   z, z'            embeddings [n, d] of two views; x = (z - mean) / sqrt(Var(z) + eps) over the
//                    batch, Var that of the population
//   C                x^T x' / n  [d, d], the cross-correlation of the views
//   on_diagonal      sum_j (1 - C_jj)^2
//   off_diagonal     sum_{i != j} C_ij^2
//   loss             scale (on_diagonal + lambda off_diagonal)
//
// lambda 5e-3 (the paper's; .0051 in the code), eps 1e-5, scale 1 (on CIFAR others use .1, which
// matters to optimisers whose step depends on the size of the gradient). Swapping views transposes
// C. More than two views: the mean over all pairs.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class BarlowTwins : public Objective {
 public:
  struct Options {
    double lambda = 5e-3;
    double scale = 1;
    double eps = 1e-5;
  };
  explicit BarlowTwins(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "on_diagonal", "off_diagonal".
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

}  // namespace invar::ssl
