#pragma once
// CorInfoMax (Ozsoy, Hamdan, Arik, Yuret, Erdogan, NeurIPS 2022), as in the authors' code: the
// log-determinant of a covariance that is averaged over the steps of training.
//
//   z                embeddings [n, d] of view v; x = z / |z| by rows, f64
//   mu_v             old mu_v + (1 - old) mean(x)
//   R_v              old R_v + (1 - old) (x - mu_v)^T (x - mu_v) / n,  the old ones without history
//   loss             invariance mean over n and d of (x - x')^2 - 1/d sum_v logdet(R_v + eps I)
//
// old .01 (what is kept of the past), R = I and mu = 0 at first, eps 1e-8, invariance 250 on
// CIFAR-10 (1000 on CIFAR-100), expander 2048-2048-64 without batch-norm. The state is
// kept in f64 for each view by itself, so the number of views is fixed: `views`, 2. More than two
// views: invariance as in VICReg, the sum of the log-determinants times 2 / views.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class CorInfoMax : public Objective {
 public:
  struct Options {
    double invariance = 250;
    double old = 0.01;
    double eps = 1e-8;
    std::int64_t views = 2;
  };
  CorInfoMax(std::int64_t dim, const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

  nn::Buffer r;   ///< [views, d, d], f64
  nn::Buffer mu;  ///< [views, 1, d], f64

 private:
  /// Terms: "invariance", "logdet" (the sum over views divided by d).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;
  void members(nn::Members& m) override;

  Options options_;
};

}  // namespace invar::ssl
