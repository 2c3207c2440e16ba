#pragma once
// SupCon (Khosla and others, NeurIPS 2020), the loss outside the logarithm ("L_out"): SimCLR where
// all views of all images of the same class are positives. It needs labels: the ceiling that
// self-supervised objectives are measured against.
//
//   s                x x^T / temperature
//   loss             mean_i mean_{p in P(i)} [log sum_{k != i} e^(s_ik) - s_ip]
//
// with x as in simclr.hpp and P(i) the other rows of i's class. temperature .1. The authors' code
// multiplies by temperature / base_temperature, which is 1 where both are .07, its defaults.
#include <invar/ssl/objectives/simclr.hpp>

namespace invar::ssl {

class SupCon : public Objective {
 public:
  struct Options {
    double temperature = 0.1;
  };
  explicit SupCon(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: those of contrastive_loss.
  ObjectiveOutput compute(const EmbeddedBatch& batch) override {
    return contrastive_loss(batch.embeddings, batch.labels, options_.temperature);
  }

  Options options_;
};

}  // namespace invar::ssl
