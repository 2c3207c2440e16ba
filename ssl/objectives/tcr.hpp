#pragma once
// TCR: total coding rate, as in EMP-SSL (Tong, Chen, Ma, LeCun, 2023) and the authors' code.
//
//   z                embeddings [n, d] of a view; x = z / |z| by rows
//   rate             mean over views of 1/2 logdet(I + d / (n eps) x^T x)
//   similarity       mean over views and samples of cos(x_i, mean over views of x_i)
//   loss             -similarity_weight similarity - rate_weight rate
//
// weights 200 and 1, eps .2. Made for many views (the paper has 20 crops of an image and calls them
// patches).
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class Tcr : public Objective {
 public:
  struct Options {
    double similarity = 200;
    double rate = 1;
    double eps = 0.2;
  };
  explicit Tcr(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "similarity", "rate", unweighted.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

}  // namespace invar::ssl
