#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/simclr.hpp>
#include <limits>

namespace invar::ssl {

ObjectiveOutput contrastive_loss(const Tensors& embeddings, const Tensor& group,
                                 double temperature) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tensor x = normalize(cat(embeddings));
  const std::int64_t m = x.size(0);
  const Tensor groups = repeat(group, {static_cast<std::int64_t>(embeddings.size())});
  const Tensor self = eye(m, -1, {.dtype = DType::boolean, .device = x.device()});
  const Tensor positive =
      to(logical_and(eq(unsqueeze(groups, 1), unsqueeze(groups, 0)), logical_not(self)), x.dtype());
  const Tensor s = matmul(x, transpose(x)) / temperature;
  const Tensor others = where(logical_not(self), s, -kInfinity);
  const Tensor attraction = sum(s * positive, {1}) / sum(positive, {1});
  const Tensor loss = mean(logsumexp(others, {1}) - attraction);

  NoGrad guard;
  const Tensor nearest = unsqueeze(argmax(others, 1), 1);
  return {loss,
          {{"positive", mean(attraction.detach()) * temperature},
           {"accuracy", mean(gather(positive, 1, nearest))}}};
}

ObjectiveOutput SimClr::compute(const EmbeddedBatch& batch) {
  const Tensor& z = batch.embeddings[0];
  const Tensor own =
      arange(0, static_cast<double>(z.size(0)), 1, {.dtype = DType::i64, .device = z.device()});
  return contrastive_loss(batch.embeddings, own, options_.temperature);
}

SimClr::SimClr(const Options& options) : Objective("simclr"), options_(options) {
  check(options.temperature > 0, name(), "expected temperature > 0, got {}", options.temperature);
}

SimClr::Options SimClr::read_options(JsonReader& reader) {
  Options o;
  o.temperature = reader.get("temperature", o.temperature);
  return o;
}

}  // namespace invar::ssl
