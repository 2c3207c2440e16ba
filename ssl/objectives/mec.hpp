#pragma once
// MEC: maximum entropy coding (Liu, Wang, Li, Wang, NeurIPS 2022), as in the authors' code: the
// coding length of the embeddings, by a Taylor series, between predictions and targets.
//
//   z, z'            embeddings [n, d] of two views;  p = predictor(z), by rows of length 1
//   t, t'            targets: their embeddings by the averaged networks, by rows of length 1
//   C                lambda p t'^T  [n, n]
//   T(p, t')         trace of sum_{k=1..order} (-1)^(k+1) C^k / k, the series of log(I + C)
//   loss             -(T(p, t') + T(p', t)) / (2 n lambda)
//   lambda           d / (n eps); its inverse is 8 times larger at first, and falls linearly to its
//                    value over the first `warmup_epochs`
//   average          as in byol.hpp, base .996
//
// eps 64, order 4, warmup_epochs 10; predictor as in byol.hpp, hidden 512 for d 2048. The series
// converges only where the eigenvalues of C are inside the unit circle: eps must not be small. More
// than two views: the mean over all ordered pairs.
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

class Mec : public PredictingObjective {
 public:
  struct Options {
    double eps = 64;
    int order = 4;
    double warmup_epochs = 10;
    PredictorOptions predictor = {.hidden = 512, .base_decay = 0.996};
  };
  Mec(std::int64_t dim, const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "inverse_lambda".
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// trace of sum_{k=1..order} (-1)^(k+1) C^k / k.
Tensor log_series_trace(const Tensor& c, int order);

}  // namespace invar::ssl
