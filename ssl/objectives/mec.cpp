#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/mec.hpp>

namespace invar::ssl {

// tr(C^k) = sum (C^(k-1))_ij C_ji, so the last power is never formed.
Tensor log_series_trace(const Tensor& c, int order) {
  Tensor series = trace(c);
  Tensor power = c;
  for (int k = 2; k <= order; ++k) {
    const double sign = k % 2 == 0 ? -1 : 1;
    series = series + sum(power * transpose(c)) * (sign / k);
    if (k < order) power = matmul(power, c);
  }
  return series;
}

ObjectiveOutput Mec::compute(const EmbeddedBatch& batch) {
  const std::size_t views = batch.embeddings.size();
  const double n = static_cast<double>(batch.embeddings[0].size(0));
  const double d = static_cast<double>(batch.embeddings[0].size(1));
  const double warmed =
      options_.warmup_epochs > 0 ? std::min(batch.epoch / options_.warmup_epochs, 1.0) : 1.0;
  const double inverse_lambda = n * options_.eps / d * (8 - 7 * warmed);
  Tensors p, t;
  for (std::size_t v = 0; v < views; ++v) {
    p.push_back(normalize(predictor(batch.embeddings[v])));
    t.push_back(normalize(batch.targets[v]));
  }
  const Tensor length = mean_over_ordered_pairs(views, [&](std::size_t a, std::size_t b) {
    return log_series_trace(matmul(p[a], transpose(t[b])) / inverse_lambda, options_.order);
  });
  return {-length * (inverse_lambda / n),
          {{"inverse_lambda", full({}, inverse_lambda, length.options())}}};
}

Mec::Mec(std::int64_t dim, const Options& options)
    : PredictingObjective("mec", {.targets = true, .epoch = true}, dim, options.predictor),
      options_(options) {
  check(options.eps > 0, name(), "expected eps > 0, got {}", options.eps);
  check(options.order >= 1, name(), "expected order >= 1, got {}", options.order);
}

Mec::Options Mec::read_options(JsonReader& reader) {
  Options o;
  o.eps = reader.get("eps", o.eps);
  o.order = reader.get("order", o.order);
  o.warmup_epochs = reader.get("warmup_epochs", o.warmup_epochs);
  o.predictor = read_predictor(reader, o.predictor);
  return o;
}

}  // namespace invar::ssl
