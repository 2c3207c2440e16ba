#pragma once
// VICReg + LogDet and VICReg + PairDist (Shwartz-Ziv and others, "An Information Theory Perspective
// on VICReg", NeurIPS 2023): VICReg with an estimate of the entropy of the embeddings in the place
// of, or beside, its variance and covariance terms, which are a cheap surrogate of it.
//
//   H                mean over the views of the entropy (entropy_term.hpp)
//   replace          invariance s - entropy H
//   add              invariance s + variance v + covariance c - entropy H
//
// with s, v, c and their weights as in vicreg.hpp, and `entropy` the weight of H. The paper does
// not say which of the two it does, nor the weights: `regulariser`, "replace" by default. The
// weights 10 (LogDet) and 2 (PairDist) balance an invariance of .2, weighted 25, at unit variance.
#include <invar/ssl/objectives/entropy_term.hpp>
#include <invar/ssl/objectives/vicreg.hpp>

namespace invar::ssl {

class VicregEntropy : public Objective {
 public:
  struct Options {
    EntropyTerm entropy;
    bool replace = true;
    Vicreg::Options vicreg = {};
  };
  explicit VicregEntropy(const Options& options);
  static Options read_options(JsonReader& reader, EntropyEstimator estimator);

 private:
  /// Terms: "invariance", with add also "variance" and "covariance", and "entropy"; unweighted.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
  Vicreg vicreg_;
};

}  // namespace invar::ssl
