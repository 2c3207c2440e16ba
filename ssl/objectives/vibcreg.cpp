#include <algorithm>
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

Tensor iterative_norm(const Tensor& z, int steps, std::int64_t group) {
  const std::int64_t n = z.size(0), d = z.size(1), width = std::min(group, d);
  check(steps >= 0 && width >= 1 && d % width == 0, "iterative_norm",
        "expected steps >= 0 and a group that divides the embeddings' dimensions, got {} steps and "
        "groups of {} for {}",
        steps, group, z.shape());
  const Tensor centred = reshape(z - mean(z, {0}, /*keepdim=*/true), {n, d / width, width});
  const Tensor x = permute(centred, {1, 0, 2});  // [groups, n, width]
  const Tensor identity = eye(width, -1, z.options());
  const Tensor s = matmul(transpose(x), x) / static_cast<double>(n) + identity * 1e-5;
  const Tensor traces = reshape(sum(diagonal(s, 0, -2, -1), {1}), {d / width, 1, 1});
  const Tensor s_n = s / traces;
  Tensor p = identity;
  for (int k = 0; k < steps; ++k) p = (3 * p - matmul(matmul(matmul(p, p), p), s_n)) / 2;
  return reshape(permute(matmul(x, p) / sqrt(traces), {1, 0, 2}), {n, d});
}

ObjectiveOutput VibcReg::compute(const EmbeddedBatch& batch) {
  Tensors views = batch.embeddings;
  if (options_.iter_norm > 0) {
    for (Tensor& z : views) z = iterative_norm(z, options_.iter_norm, options_.group);
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

VibcReg::VibcReg(const Options& options) : Objective("vibcreg"), options_(options) {
  check_not_negative(name(), {{"invariance", options.invariance},
                              {"variance", options.variance},
                              {"covariance", options.covariance}});
  check(options.iter_norm >= 0 && options.group >= 1, name(),
        "expected iter_norm >= 0 and group >= 1, got {} and {}", options.iter_norm, options.group);
}

VibcReg::Options VibcReg::read_options(JsonReader& reader) {
  Options o;
  o.invariance = reader.get("invariance", o.invariance);
  o.variance = reader.get("variance", o.variance);
  o.covariance = reader.get("covariance", o.covariance);
  o.iter_norm = reader.get("iter_norm", o.iter_norm);
  o.group = reader.get("group", o.group);
  return o;
}

}  // namespace invar::ssl
