#pragma once
// BYOL (Grill and others, NeurIPS 2020), as in the authors' code: predictions of the embeddings
// that an average of the networks over training gives of the other view.
//
//   z, z'            embeddings [n, d] of two views;  p = predictor(z)
//   t, t'            targets: their embeddings by the averaged networks
//   loss             mean_i [(2 - 2 cos(p_i, t'_i)) + (2 - 2 cos(p'_i, t_i))]
//   average          decay average + (1 - decay) trained after each step;
//                    decay = 1 - (1 - base) (cos(pi progress) + 1)/2, from base to 1
//
// predictor: Linear(d, hidden), batch-norm, ReLU, Linear(hidden, d); hidden 4096 for d 256. base
// .996 (for 1000 epochs of ImageNet; the authors' code has .99 for 100 and 300, .97 for 40). More
// than two views: twice the mean over all ordered pairs.
//
// BYOL + LogDet and BYOL + PairDist subtract weight H(z), an entropy that rules collapse out
// (entropy_term.hpp). The loss above does not see the length of z, so the entropy does not either:
// it is that of the rows scaled to length sqrt(d), on average over the views.
#include <invar/ssl/objectives/entropy_term.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <optional>
#include <string>

namespace invar::ssl {

class Byol : public PredictingObjective {
 public:
  struct Options {
    PredictorOptions predictor = {.hidden = 4096, .base_decay = 0.996};
    std::optional<EntropyTerm> entropy = {};
  };
  /// Error if the options are out of range.
  Byol(std::int64_t dim, const Options& options, std::string name = "byol");
  static Options read_options(JsonReader& reader);
  /// With an entropy: options of both, weight .1 unless given.
  static Options read_options(JsonReader& reader, EntropyEstimator estimator);

 private:
  /// Terms: "cosine" (mean of the cosines), and "entropy" if there is one.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  std::optional<EntropyTerm> entropy_;
};

}  // namespace invar::ssl
