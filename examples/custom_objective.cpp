// custom_objective: an objective of one's own, trained and evaluated with everything that pretrain
// offers. docs/objectives.md walks through this file.
//
//   custom_objective examples/configs/quickstart.json --out runs/custom
//                    --set 'objective={"name": "decorrelated_contrast"}'
#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/vicreg.hpp>

#include "common/pretrain.hpp"

using namespace invar;

namespace {

/// The other view of an image is to be told from those of the other images, at a temperature that
/// is learned, with dimensions that are not correlated:
///   loss = 1/2 [CE(x y^T / T) + CE(y x^T / T)] + weight/2 [c(sqrt(d) x) + c(sqrt(d) y)]
/// x, y the rows of z, z' at length 1, CE the cross-entropy with row i right for i, c as in VICReg.
class DecorrelatedContrast : public ssl::Objective {
 public:
  DecorrelatedContrast(double temperature, double weight)
      : Objective("decorrelated_contrast"),
        log_scale_(full({1}, -std::log(temperature))),
        weight_(weight) {}

 private:
  ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch& batch) override {
    const Tensor x = normalize(batch.embeddings[0]), y = normalize(batch.embeddings[1]);
    const Tensor logits = matmul(x, transpose(y)) * exp(log_scale_);
    const Tensor own = arange(0, x.size(0), 1, {.dtype = DType::i64, .device = x.device()});
    const Tensor contrast =
        (cross_entropy(logits, own) + cross_entropy(transpose(logits), own)) / 2;
    const double length = std::sqrt(static_cast<double>(x.size(1)));
    const Tensor correlation =
        (ssl::off_diagonal_covariance(x * length) + ssl::off_diagonal_covariance(y * length)) / 2;
    return {contrast + weight_ * correlation,
            {{"contrast", contrast.detach()}, {"correlation", correlation.detach()}}};
  }

  void members(nn::Members& m) override { m("log_scale", log_scale_); }

  nn::Parameter log_scale_;
  double weight_;
};

}  // namespace

int main(int argc, char** argv) {
  ssl::register_objective("decorrelated_contrast", [](JsonReader& options, std::int64_t) {
    const double temperature = options.get("temperature", 0.2);
    return std::make_unique<DecorrelatedContrast>(temperature, options.get("weight", 0.02));
  });
  return app::pretrain_main(argc, argv);
}
