#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/simsiam.hpp>

namespace invar::ssl {

SimSiam::SimSiam(std::int64_t dim, const Options& options) : Objective("simsiam") {
  check(options.hidden >= 0, name(), "expected hidden >= 0, got {}", options.hidden);
  predictor =
      make_predictor(dim, options.hidden > 0 ? options.hidden : std::max<std::int64_t>(dim / 4, 1));
}

ObjectiveOutput SimSiam::compute(const EmbeddedBatch& batch) {
  const Tensors& z = batch.embeddings;
  Tensors p;
  for (const Tensor& view : z) p.push_back(predictor(view));
  const Tensor cosine = mean_over_ordered_pairs(
      z.size(), [&](std::size_t a, std::size_t b) { return mean_cosine(p[a], z[b].detach()); });

  const Tensor spread = mean(invar::std(normalize(z[0].detach()), {0})) *
                        std::sqrt(static_cast<double>(z[0].size(1)));
  return {-cosine, {{"cosine", cosine.detach()}, {"std", spread}}};
}

SimSiam::Options SimSiam::read_options(JsonReader& reader) {
  Options o;
  o.hidden = reader.get("hidden", o.hidden);
  return o;
}

}  // namespace invar::ssl
