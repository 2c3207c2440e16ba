#include <invar/ops/elementwise.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/objectives/byol.hpp>
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {
namespace {

const char* name_of(const Byol::Options& options) {
  if (!options.entropy) return "byol";
  return options.entropy->estimator == EntropyEstimator::log_det ? "byol_logdet" : "byol_pairdist";
}

}  // namespace

Byol::Byol(std::int64_t dim, const Options& options)
    : Objective(name_of(options), {.targets = true}),
      predictor(make_predictor(dim, options.hidden)),
      options_(options) {}

ObjectiveOutput Byol::compute(const EmbeddedBatch& batch) {
  const Tensors& z = batch.embeddings;
  Tensors p;
  for (const Tensor& view : z) p.push_back(predictor(view));
  const Tensor cosine = mean_over_ordered_pairs(
      z.size(), [&](std::size_t a, std::size_t b) { return mean_cosine(p[a], batch.targets[b]); });
  const Tensor loss = 4 - 4 * cosine;
  if (!options_.entropy) return {loss, {{"cosine", cosine.detach()}}};

  Tensors rows;
  for (const Tensor& view : z) rows.push_back(rows_of_unit_variance(view));
  const Tensor entropy = mean_entropy(rows, *options_.entropy);
  return {loss - entropy * options_.entropy->weight,
          {{"cosine", cosine.detach()}, {"entropy", entropy.detach()}}};
}

double Byol::target_decay(double progress) const {
  return cosine_to_one(options_.base_decay, progress);
}

Byol::Options Byol::read_options(JsonReader& reader) {
  Options o;
  o.hidden = reader.get("hidden", o.hidden);
  o.base_decay = reader.get("base_decay", o.base_decay);
  check(o.hidden >= 1, "byol", "expected hidden of at least 1, got {}", o.hidden);
  check(o.base_decay >= 0 && o.base_decay <= 1, "byol", "expected base_decay in [0, 1], got {}",
        o.base_decay);
  return o;
}

Byol::Options Byol::read_options(JsonReader& reader, EntropyEstimator estimator) {
  Options o = read_options(reader);
  o.entropy = read_entropy_term(reader, estimator, 0.1);
  return o;
}

}  // namespace invar::ssl
