#include <invar/ops/elementwise.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/barlow_twins.hpp>
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

// The squares of C = x^T y sum to the dot product of the n x n matrices x x^T and y y^T. For
// n << d that is less work than the d x d matrix: see off_diagonal_covariance in vicreg.cpp.
ObjectiveOutput BarlowTwins::compute(const EmbeddedBatch& batch) {
  const double n = static_cast<double>(batch.embeddings[0].size(0));
  const bool wide = 2 * batch.embeddings[0].size(0) <= batch.embeddings[0].size(1);
  Tensors x;
  for (const Tensor& z : batch.embeddings) {
    const Tensor deviation = sqrt(var(z, {0}, 0, /*keepdim=*/true) + options_.eps);
    x.push_back((z - mean(z, {0}, /*keepdim=*/true)) / deviation);
  }
  const auto diagonal = [&](std::size_t a, std::size_t b) { return sum(x[a] * x[b], {0}) / n; };
  const Tensor on = mean_over_pairs(
      x.size(), [&](std::size_t a, std::size_t b) { return sum(square(1 - diagonal(a, b))); });
  const Tensor off = mean_over_pairs(x.size(), [&](std::size_t a, std::size_t b) {
    if (!wide) return off_diagonal_squares(matmul(transpose(x[a]), x[b]) / n);
    const Tensor all = matmul(x[a], transpose(x[a])) * matmul(x[b], transpose(x[b]));
    return sum(all) / (n * n) - sum(square(diagonal(a, b)));
  });
  return {(on + off * options_.lambda) * options_.scale,
          {{"on_diagonal", on.detach()}, {"off_diagonal", off.detach()}}};
}

BarlowTwins::BarlowTwins(const Options& options) : Objective("barlow_twins"), options_(options) {
  check_not_negative(name(), {{"lambda", options.lambda}, {"scale", options.scale}});
  check(options.eps > 0, name(), "expected eps > 0, got {}: the square root needs it", options.eps);
}

BarlowTwins::Options BarlowTwins::read_options(JsonReader& reader) {
  Options o;
  o.lambda = reader.get("lambda", o.lambda);
  o.scale = reader.get("scale", o.scale);
  o.eps = reader.get("eps", o.eps);
  return o;
}

}  // namespace invar::ssl
