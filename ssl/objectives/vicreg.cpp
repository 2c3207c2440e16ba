#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/vicreg_floor.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/vicreg.hpp>

namespace invar::ssl {

Tensor variance_hinge(const Tensor& z, double gamma, double eps) {
  const Tensor deviation = sqrt(var(z, {0}) + eps);
  return mean(relu(gamma - deviation));
}

// C = x^T x and the n x n matrix x x^T have the same sum of squares (that of x's singular values to
// the fourth power), and the diagonal of C is the variances. For n << d, as with wide expanders,
// the small matrix costs n/d of the work and no pass over a d x d matrix. The difference is
// harmless there: C has rank n - 1, so that with equal variances the diagonal's share of the sum is
// at most (n - 1)/d. Else it could be nearly all of it, and the off-diagonal squares are summed
// themselves.
Tensor off_diagonal_covariance(const Tensor& z) {
  const std::int64_t n = z.size(0), d = z.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(n - 1));
  const Tensor x = (z - mean(z, {0}, /*keepdim=*/true)) * scale;
  Tensor total;
  if (2 * n <= d) {
    total = sum(square(matmul(x, transpose(x)))) - sum(square(sum(square(x), {0})));
  } else {
    total = off_diagonal_squares(matmul(transpose(x), x));
  }
  return total / static_cast<double>(d);
}

ObjectiveOutput Vicreg::compute(const EmbeddedBatch& batch) {
  const Tensors& embeddings = batch.embeddings;
  const Tensor invariance = mean_squared_distance(embeddings);
  Tensor variance = zeros({}, embeddings[0].options());
  Tensor covariance = variance;
  for (const Tensor& z : embeddings) {
    variance = variance + variance_hinge(z, options_.gamma, options_.eps);
    covariance = covariance + off_diagonal_covariance(z);
  }
  const double pair = 2.0 / static_cast<double>(embeddings.size());
  variance = variance * (options_.halve_variance ? pair / 2 : pair);
  covariance = covariance * pair;

  return {invariance * options_.invariance + variance * options_.variance +
              covariance * options_.covariance,
          {{"invariance", invariance.detach()},
           {"variance", variance.detach()},
           {"covariance", covariance.detach()}}};
}

std::optional<double> Vicreg::floor(std::int64_t n, std::int64_t d) const {
  return vicreg_floor(n, d, options_).loss;
}

Vicreg::Vicreg(const Options& options) : Objective("vicreg"), options_(options) {
  check_not_negative(name(), {{"invariance", options.invariance},
                              {"variance", options.variance},
                              {"covariance", options.covariance},
                              {"gamma", options.gamma}});
  check(options.eps > 0, name(), "expected eps > 0, got {}: the square root needs it", options.eps);
}

Vicreg::Options Vicreg::read_options(JsonReader& reader) {
  Options o;
  o.invariance = reader.get("invariance", o.invariance);
  o.variance = reader.get("variance", o.variance);
  o.covariance = reader.get("covariance", o.covariance);
  o.gamma = reader.get("gamma", o.gamma);
  o.eps = reader.get("eps", o.eps);
  o.halve_variance = reader.get("halve_variance", o.halve_variance);
  return o;
}

}  // namespace invar::ssl
