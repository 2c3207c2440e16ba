// custom_objective: an objective of one's own, trained and evaluated with everything that pretrain
// offers. docs/objectives.md walks through this file.
//
//   custom_objective examples/configs/quickstart.json --out runs/custom
//                    --set 'objective={"name": "whitened_prediction", "hidden": 256}'
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objective.hpp>

#include "common/pretrain.hpp"

using namespace invar;

namespace {

/// Each view predicts the other, and the embeddings' covariance is drawn to the identity:
///   loss = |p(z) - z'|^2 + |p(z') - z|^2 + decorrelation / d (|Cov(z) - I|_F^2 + |Cov(z') -
///   I|_F^2)
class WhitenedPrediction : public ssl::Objective {
 public:
  WhitenedPrediction(std::int64_t dim, std::int64_t hidden, double decorrelation)
      : Objective("whitened_prediction"),
        predictor_(ssl::make_expander(dim, {.layers = {hidden, dim}})),
        decorrelation_(decorrelation) {}

 private:
  ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch& batch) override {
    const Tensor &a = batch.embeddings[0], &b = batch.embeddings[1];
    const Tensor prediction = mse_loss(predictor_(a), b) + mse_loss(predictor_(b), a);
    const Tensor decorrelation = off_identity(a) + off_identity(b);
    return {prediction + decorrelation * decorrelation_,
            {{"prediction", prediction.detach()}, {"decorrelation", decorrelation.detach()}}};
  }

  static Tensor off_identity(const Tensor& z) {
    const Tensor x = z - mean(z, {0}, /*keepdim=*/true);
    const Tensor c = matmul(transpose(x), x) / static_cast<double>(z.size(0) - 1);
    return sum(square(c - eye(z.size(1), -1, z.options()))) / static_cast<double>(z.size(1));
  }

  void members(nn::Members& m) override { m("predictor", predictor_); }

  nn::Sequential predictor_;
  double decorrelation_;
};

}  // namespace

int main(int argc, char** argv) {
  ssl::register_objective("whitened_prediction", [](JsonReader& options, std::int64_t dim) {
    return std::make_unique<WhitenedPrediction>(dim, options.get<std::int64_t>("hidden", 256),
                                                options.get("decorrelation", 1.0));
  });
  return app::pretrain_main(argc, argv);
}
