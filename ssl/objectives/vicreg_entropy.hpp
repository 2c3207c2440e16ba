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
//
// Note [Collapse under an invariance term]
// When both views shrink to z = sigma u, with u of unit variance and views that are not related
// yet, the invariance term is 2 s sigma^2, and the entropy term's gain over collapsed views is
// 2 w d sigma^2 / (c s2) (PairDist) or w sigma^2 / (2 beta) (LogDet), with weights s and w. So
// shrinking pays if s2 is above w d / (c s), or beta above w / (4 s): such a training collapses in
// its first steps, before the views agree. With "replace", s2 is half of that limit unless
// given, 2.6 at d 512, which is about the median distance rule (pairwise_s2) of a new expander.
// With "add" the variance term keeps the scale, and s2 is that of unit variance (entropy_term.hpp).
#include <invar/ssl/objectives/entropy_term.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <string>

namespace invar::ssl {

class VicregEntropy : public Objective {
 public:
  struct Options {
    EntropyTerm entropy;
    bool replace = true;
    Vicreg::Options vicreg = {};
  };
  /// Error if the options are out of range.
  VicregEntropy(std::string name, const Options& options);
  static Options read_options(JsonReader& reader, EntropyEstimator estimator);

 private:
  /// Terms: "invariance", with add also "variance" and "covariance", and "entropy"; unweighted.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
  Vicreg vicreg_;
};

}  // namespace invar::ssl
