#pragma once
// MoCo v3 (Chen, Xie, He, ICCV 2021), as in the authors' code: contrast between predictions and an
// averaged network's embeddings of the same batch, no queue.
//
//   z, z'            embeddings [n, d] of two views;  q = predictor(z) / |predictor(z)|
//   k, k'            targets: their embeddings by the averaged networks, by rows of length 1
//   ctr(q, k)        2 temperature * mean_i [-log softmax_i(q_i k^T / temperature)]
//   loss             ctr(q, k') + ctr(q', k)
//   average          decay average + (1 - decay) trained after each step;
//                    decay = 1 - (1 - base) (cos(pi progress) + 1)/2, from base to 1
//
// predictor: Linear(d, hidden), batch-norm, ReLU, Linear(hidden, d); hidden 4096 for d 256.
// temperature .2 (the paper's ViTs; the code's default is 1), base .99. The authors end expander
// and, for ViTs, predictor with a batch-norm without affine parameters ("last_batch_norm" of the
// expander). More than two views: twice the mean over all ordered pairs.
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

class MocoV3 : public PredictingObjective {
 public:
  struct Options {
    double temperature = 0.2;
    PredictorOptions predictor = {.hidden = 4096, .base_decay = 0.99};
  };
  MocoV3(std::int64_t dim, const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "positive" (mean cosine of q_i and k'_i).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  double temperature_;
};

}  // namespace invar::ssl
