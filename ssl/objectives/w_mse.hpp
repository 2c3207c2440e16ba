#pragma once
// W-MSE (Ermolov, Siarohin, Sangineto, Sebe, ICML 2021), as in the authors' code: whitened
// embeddings cannot collapse, so the distance of the views is all that is left to minimise.
//
//   z                embeddings [n, d] of a view, cut into random parts of `part` samples (the same
//                    for all views); each part is whitened alone:
//   w                (z - mean) L^-T,  L L^T = (1 - eps) Cov(z) + eps I,  Cov unbiased
//   loss             mean_i (2 - 2 cos(w_i, w'_i)), on average over pairs of views and over
//                    `iterations` random divisions
//
// part 128 (the whole batch where that is smaller), which should be at least 2 d; d 64; eps 0 (with
// it, part has to exceed d); 1 iteration. n is a multiple of part. The division is random: from
// default_generator().
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class Wmse : public Objective {
 public:
  struct Options {
    std::int64_t part = 128;
    double eps = 0;
    int iterations = 1;
  };
  explicit Wmse(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// No terms.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// z [n, d], or a batch of such, with mean 0 and covariance I: see the top of this file. Computed
/// in f64; Error where the covariance is singular.
Tensor whiten(const Tensor& embeddings, double eps);

}  // namespace invar::ssl
