#pragma once
// SimSiam (Chen and He, CVPR 2021), as in the authors' code: a predictor and a stopped gradient are
// all that keeps it from collapse.
//
//   z, z'            embeddings [n, d] of two views;  p = predictor(z)
//   loss             -1/2 mean_i [cos(p_i, z'_i) + cos(p'_i, z_i)],  z, z' there without history
//
// predictor: Linear(d, hidden) without bias, batch-norm, ReLU, Linear(hidden, d). hidden: 512 for d
// 2048, a quarter of d by default. The authors end the expander with a batch-norm without affine
// parameters ("last_batch_norm": true of the expander does that) and keep the predictor's learning
// rate constant. More than two views: the mean over all ordered pairs.
#include <invar/nn/container.hpp>
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class SimSiam : public Objective {
 public:
  struct Options {
    std::int64_t hidden = 0;  ///< 0: max(d / 4, 1)
  };
  SimSiam(std::int64_t dim, const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

  nn::Sequential predictor;

 private:
  /// Terms: "cosine" (the loss with the other sign), "std" (mean over d of the standard deviation
  /// of z / |z| times sqrt(d): 0 is collapse, 1 uniform on the sphere).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;
  void members(nn::Members& m) override { m("predictor", predictor); }
};

}  // namespace invar::ssl
