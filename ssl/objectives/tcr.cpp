#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/tcr.hpp>

namespace invar::ssl {

ObjectiveOutput Tcr::compute(const EmbeddedBatch& batch) {
  const Tensor x = normalize(stack(batch.embeddings), 2);  // [views, n, d]
  const std::int64_t n = x.size(1), d = x.size(2);
  const double scale = static_cast<double>(d) / (static_cast<double>(n) * options_.eps);
  // I + a x^T x and I + a x x^T have the same determinant: the smaller one.
  const Tensor gram = smaller_gram(x) * scale;
  const Tensor rate = mean(logdet(gram + eye(gram.size(-1), -1, x.options()))) / 2;
  const Tensor centre = mean(x, {0}, /*keepdim=*/true);
  const Tensor similarity = mean(sum(x * normalize(centre, 2), {2}));
  return {-similarity * options_.similarity - rate * options_.rate,
          {{"similarity", similarity.detach()}, {"rate", rate.detach()}}};
}

Tcr::Tcr(const Options& options) : Objective("tcr"), options_(options) {
  check_not_negative(name(), {{"similarity", options.similarity}, {"rate", options.rate}});
  check(options.eps > 0, name(), "expected eps > 0, got {}", options.eps);
}

Tcr::Options Tcr::read_options(JsonReader& reader) {
  Options o;
  o.similarity = reader.get("similarity", o.similarity);
  o.rate = reader.get("rate", o.rate);
  o.eps = reader.get("eps", o.eps);
  return o;
}

}  // namespace invar::ssl
