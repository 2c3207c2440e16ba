// custom_objective: an objective of one's own, trained and evaluated with everything that pretrain
// offers. docs/objectives.md walks through this file.
//
//   custom_objective examples/configs/quickstart.json --out runs/custom
//                    --set 'objective={"name": "predictive_coding_rate", "hidden": 256}'
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objective.hpp>

#include "common/pretrain.hpp"

using namespace invar;

namespace {

/// Each view predicts the other's direction, and the directions are to fill the space:
///   loss = -weight/2 [cos(p(z), z') + cos(p(z'), z)] - 1/2 [R(z) + R(z')],
///   R(z) = 1/2 logdet(I + d/(n eps) x x^T), x the rows of z at length 1, eps = 0.2
class PredictiveCodingRate : public ssl::Objective {
 public:
  PredictiveCodingRate(std::int64_t dim, std::int64_t hidden, double weight)
      : Objective("predictive_coding_rate"),
        predictor_(ssl::make_expander(dim, {.layers = {hidden, dim}})),
        weight_(weight) {}

 private:
  ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch& batch) override {
    const Tensor x = normalize(batch.embeddings[0]), y = normalize(batch.embeddings[1]);
    const Tensor px = normalize(predictor_(x)), py = normalize(predictor_(y));
    const Tensor cosine = mean(sum(px * y + py * x, {1})) / 2;
    const Tensor rate = (coding_rate(x) + coding_rate(y)) / 2;
    return {-weight_ * cosine - rate, {{"cosine", cosine.detach()}, {"rate", rate.detach()}}};
  }

  static Tensor coding_rate(const Tensor& x) {
    const std::int64_t n = x.size(0), d = x.size(1);
    const double scale = static_cast<double>(d) / (0.2 * static_cast<double>(n));
    return logdet(eye(n, -1, x.options()) + matmul(x, transpose(x)) * scale) / 2;
  }

  void members(nn::Members& m) override { m("predictor", predictor_); }

  nn::Sequential predictor_;
  double weight_;
};

}  // namespace

int main(int argc, char** argv) {
  ssl::register_objective("predictive_coding_rate", [](JsonReader& options, std::int64_t dim) {
    const auto hidden = options.get<std::int64_t>("hidden", 256);
    return std::make_unique<PredictiveCodingRate>(dim, hidden, options.get("weight", 200.0));
  });
  return app::pretrain_main(argc, argv);
}
