#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/moco_v3.hpp>

namespace invar::ssl {

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
    return cross_entropy(matmul(q[a], transpose(k[b])) / temperature_, own);
  });
  const Tensor positive = mean_over_ordered_pairs(
      views, [&](std::size_t a, std::size_t b) { return mean(sum(q[a].detach() * k[b], {1})); });
  return {contrast * (4 * temperature_), {{"positive", positive}}};
}

MocoV3::MocoV3(std::int64_t dim, const Options& options)
    : PredictingObjective("moco_v3", {.targets = true}, dim, options.predictor),
      temperature_(options.temperature) {
  check(temperature_ > 0, name(), "expected temperature > 0, got {}", temperature_);
}

MocoV3::Options MocoV3::read_options(JsonReader& reader) {
  Options o;
  o.temperature = reader.get("temperature", o.temperature);
  o.predictor = read_predictor(reader, o.predictor);
  return o;
}

}  // namespace invar::ssl
