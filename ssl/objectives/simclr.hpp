#pragma once
// SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020), the paper's loss: the other view of an
// image is to be told from all views of all other images. The authors' code has twice as much,
// since it adds the means over both views.
//
//   z                embeddings of all views, [m, d] with m = n * views; x = z / |z| by rows
//   s                x x^T / temperature  [m, m]
//   loss             mean_i mean_{p in P(i)} [log sum_{k != i} e^(s_ik) - s_ip]
//
// where P(i) are the other views of i's image: for two views one, and the loss is NT-Xent.
// temperature .5 (the paper's choice for CIFAR-10; .1 for ImageNet).
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class SimClr : public Objective {
 public:
  struct Options {
    double temperature = 0.5;
  };
  explicit SimClr(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "positive" (mean cosine of P), "accuracy" (how often the nearest row is of P).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// The loss above for embeddings of n samples, rows with the same number in `group` [n] (i64) being
/// each other's positives: with one group per image SimCLR, with classes SupCon. Every row needs a
/// positive, which two views of each sample give.
ObjectiveOutput contrastive_loss(const Tensors& embeddings, const Tensor& group,
                                 double temperature);

}  // namespace invar::ssl
