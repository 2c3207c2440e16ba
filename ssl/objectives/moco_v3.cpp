#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/moco_v3.hpp>
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

MocoV3::MocoV3(std::int64_t dim, const Options& options)
    : Objective("moco_v3", {.targets = true}),
      predictor(make_predictor(dim, options.hidden)),
      options_(options) {}

ObjectiveOutput MocoV3::compute(const EmbeddedBatch& batch) {
  const std::size_t views = batch.embeddings.size();
  const Tensor& z = batch.embeddings[0];
  const Tensor own =
      arange(0, static_cast<double>(z.size(0)), 1, {.dtype = DType::i64, .device = z.device()});
  Tensors q, k;
  for (std::size_t v = 0; v < views; ++v) {
    q.push_back(normalize(predictor(batch.embeddings[v])));
    k.push_back(normalize(batch.targets[v]));
  }
  const Tensor contrast = mean_over_ordered_pairs(views, [&](std::size_t a, std::size_t b) {
    return cross_entropy(matmul(q[a], transpose(k[b])) / options_.temperature, own);
  });
  const Tensor positive = mean_over_ordered_pairs(
      views, [&](std::size_t a, std::size_t b) { return mean(sum(q[a].detach() * k[b], {1})); });
  return {contrast * (4 * options_.temperature), {{"positive", positive}}};
}

double MocoV3::target_decay(double progress) const {
  return cosine_to_one(options_.base_decay, progress);
}

MocoV3::Options MocoV3::read_options(JsonReader& reader) {
  Options o;
  o.temperature = reader.get("temperature", o.temperature);
  o.hidden = reader.get("hidden", o.hidden);
  o.base_decay = reader.get("base_decay", o.base_decay);
  check(o.temperature > 0, "moco_v3", "expected temperature > 0, got {}", o.temperature);
  check(o.hidden >= 1, "moco_v3", "expected hidden of at least 1, got {}", o.hidden);
  check(o.base_decay >= 0 && o.base_decay <= 1, "moco_v3", "expected base_decay in [0, 1], got {}",
        o.base_decay);
  return o;
}

}  // namespace invar::ssl
