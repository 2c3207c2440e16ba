#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/vibcreg.hpp>
#include <invar/ssl/objectives/vicreg.hpp>

namespace invar::ssl {

Tensor iterative_norm(const Tensor& z, int steps) {
  const Tensor x = z - mean(z, {0}, /*keepdim=*/true);
  const Tensor identity = eye(z.size(1), -1, z.options());
  const Tensor s = matmul(transpose(x), x) / static_cast<double>(z.size(0)) + identity * 1e-5;
  const Tensor total = trace(s);
  const Tensor s_n = s / total;
  Tensor p = identity;
  for (int k = 0; k < steps; ++k) p = (3 * p - matmul(matmul(matmul(p, p), p), s_n)) / 2;
  return matmul(x, p) / sqrt(total);
}

ObjectiveOutput VibcReg::compute(const EmbeddedBatch& batch) {
  Tensors views = batch.embeddings;
  if (options_.iter_norm > 0) {
    for (Tensor& z : views) z = iterative_norm(z, options_.iter_norm);
  }
  const double d = static_cast<double>(views[0].size(1));
  const Tensor invariance = mean_squared_distance(views);
  Tensor variance = zeros({}, views[0].options()), covariance = variance;
  for (const Tensor& z : views) {
    variance = variance + variance_hinge(z, 1, 1e-4);
    const Tensor x = normalize(z - mean(z, {0}, /*keepdim=*/true), 0);
    covariance = covariance + off_diagonal_squares(matmul(transpose(x), x)) / (d * d);
  }
  const double pair = 2.0 / static_cast<double>(views.size());
  variance = variance * pair;
  covariance = covariance * pair;
  return {invariance * options_.invariance + variance * options_.variance +
              covariance * options_.covariance,
          {{"invariance", invariance.detach()},
           {"variance", variance.detach()},
           {"covariance", covariance.detach()}}};
}

VibcReg::Options VibcReg::read_options(JsonReader& reader) {
  Options o;
  o.invariance = reader.get("invariance", o.invariance);
  o.variance = reader.get("variance", o.variance);
  o.covariance = reader.get("covariance", o.covariance);
  o.iter_norm = reader.get("iter_norm", o.iter_norm);
  check(o.iter_norm >= 0, reader.where(), "expected iter_norm >= 0, got {}", o.iter_norm);
  return o;
}

}  // namespace invar::ssl
