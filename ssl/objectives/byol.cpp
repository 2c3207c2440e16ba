#include <invar/ops/elementwise.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/objectives/byol.hpp>

namespace invar::ssl {

Byol::Byol(std::int64_t dim, const Options& options, std::string name)
    : PredictingObjective(std::move(name), {.targets = true}, dim, options.predictor),
      entropy_(options.entropy) {
  if (entropy_) check_entropy_term(this->name(), *entropy_);
}

ObjectiveOutput Byol::compute(const EmbeddedBatch& batch) {
  const Tensors& z = batch.embeddings;
  Tensors p;
  for (const Tensor& view : z) p.push_back(predictor(view));
  const Tensor cosine = mean_over_ordered_pairs(
      z.size(), [&](std::size_t a, std::size_t b) { return mean_cosine(p[a], batch.targets[b]); });
  const Tensor loss = 4 - 4 * cosine;
  if (!entropy_) return {loss, {{"cosine", cosine.detach()}}};

  Tensors rows;
  for (const Tensor& view : z) rows.push_back(rows_of_unit_variance(view));
  const Tensor entropy = mean_entropy(rows, *entropy_);
  return {loss - entropy * entropy_->weight,
          {{"cosine", cosine.detach()}, {"entropy", entropy.detach()}}};
}

Byol::Options Byol::read_options(JsonReader& reader) {
  Options o;
  o.predictor = read_predictor(reader, o.predictor);
  return o;
}

Byol::Options Byol::read_options(JsonReader& reader, EntropyEstimator estimator) {
  Options o = read_options(reader);
  o.entropy = read_entropy_term(reader, estimator, 0.1);
  return o;
}

}  // namespace invar::ssl
