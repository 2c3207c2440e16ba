#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/w_mse.hpp>

namespace invar::ssl {

Tensor whiten(const Tensor& embeddings, double eps) {
  const Tensor z = invar::to(embeddings, DType::f64);
  const Tensor x = z - mean(z, {-2}, /*keepdim=*/true);
  Tensor c = covariance(z);
  if (eps > 0) c = c * (1 - eps) + eye(z.size(-1), -1, z.options()) * eps;
  // Rows w with L w = x, so w = x L^-T.
  const Tensor w = solve_triangular(transpose(cholesky(c)), x, /*upper=*/true, /*left=*/false);
  return invar::to(w, embeddings.dtype());
}

ObjectiveOutput Wmse::compute(const EmbeddedBatch& batch) {
  const std::int64_t n = batch.embeddings[0].size(0), d = batch.embeddings[0].size(1);
  const std::int64_t part = std::min(n, options_.part);
  check(n % part == 0, "w_mse", "expected a batch that is a multiple of {}, got {}", part, n);
  check(options_.eps > 0 || part > d, "w_mse",
        "expected parts of more than d = {} samples, got {}: fewer have a singular covariance; use "
        "a narrower expander, larger parts, or eps > 0",
        d, part);
  Tensor loss = zeros({}, batch.embeddings[0].options());
  for (int i = 0; i < options_.iterations; ++i) {
    const Tensor order = invar::to(randperm(n), loss.device());
    Tensors w;
    for (const Tensor& z : batch.embeddings) {
      const Tensor parts = reshape(index_select(z, 0, order), {n / part, part, d});
      w.push_back(reshape(whiten(parts, options_.eps), {n, d}));
    }
    loss = loss + mean_over_pairs(w.size(), [&](std::size_t a, std::size_t b) {
             return 2 - 2 * mean_cosine(w[a], w[b]);
           });
  }
  return {loss / static_cast<double>(options_.iterations), {}};
}

Wmse::Wmse(const Options& options) : Objective("w_mse"), options_(options) {
  check(options.part >= 2 && options.iterations >= 1, name(),
        "expected part >= 2 and iterations >= 1, got {} and {}", options.part, options.iterations);
  check(options.eps >= 0 && options.eps <= 1, name(), "expected eps in [0, 1], got {}",
        options.eps);
}

Wmse::Options Wmse::read_options(JsonReader& reader) {
  Options o;
  o.part = reader.get("part", o.part);
  o.eps = reader.get("eps", o.eps);
  o.iterations = reader.get("iterations", o.iterations);
  return o;
}

}  // namespace invar::ssl
