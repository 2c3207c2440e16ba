#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/swav.hpp>

namespace invar::ssl {

Tensor sinkhorn(const Tensor& scores, double eps, int iterations) {
  check(eps > 0 && iterations >= 1, "sinkhorn",
        "expected eps > 0 and iterations >= 1, got {} and {}", eps, iterations);
  NoGrad guard;
  // A common factor cancels, so the largest exponent may be 0. In f64, since a column whose
  // exponentials are all 0 would become NaN: in f32 already where scores are 103 eps apart.
  const Tensor s = to(scores.detach(), DType::f64);
  Tensor q = exp((s - amax(s)) / eps);
  const double per_prototype =
      static_cast<double>(scores.size(0)) / static_cast<double>(scores.size(1));
  for (int i = 0; i < iterations; ++i) {
    q = q / sum(q, {0}, /*keepdim=*/true) * per_prototype;
    q = q / sum(q, {1}, /*keepdim=*/true);
  }
  return to(q, scores.dtype());
}

Swav::Swav(std::int64_t dim, const Options& options)
    : Objective("swav", {.epoch = true}), options_(options) {
  check(options.prototypes >= 2, name(), "expected at least 2 prototypes, got {}",
        options.prototypes);
  check(options.temperature > 0, name(), "expected temperature > 0, got {}", options.temperature);
  // Cosines are up to 2 apart.
  check(options.eps >= 0.003, name(), "expected eps >= 0.003, got {}: e^(2 / eps) must be a number",
        options.eps);
  check(options.iterations >= 1 && options.code_views >= 1 && options.queue >= 0, name(),
        "expected iterations >= 1, code_views >= 1 and queue >= 0, got {}, {} and {}",
        options.iterations, options.code_views, options.queue);
  prototypes = nn::Parameter(normalize(rand({options.prototypes, dim}) * 2 - 1));
  if (options.queue > 0) {
    queue = nn::Buffer(zeros({options.code_views, options.queue, dim}));
    queued = nn::Buffer(zeros({}, {.dtype = DType::i64}));
  }
}

ObjectiveOutput Swav::compute(const EmbeddedBatch& batch) {
  const std::size_t views = batch.embeddings.size();
  const std::size_t code_views = std::min(views, static_cast<std::size_t>(options_.code_views));
  if (is_training()) {
    NoGrad guard;
    copy_(prototypes, normalize(prototypes));
  }
  // A copy: the next forward pass normalises them in place, maybe before this one's backward.
  const Tensor c =
      clone(batch.epoch < options_.freeze_epochs ? prototypes.detach() : Tensor(prototypes));
  Tensors x, log_p;
  for (const Tensor& z : batch.embeddings) {
    x.push_back(normalize(z));
    log_p.push_back(log_softmax(matmul(x.back(), transpose(c)) / options_.temperature, 1));
  }
  Tensor loss;
  for (std::size_t a = 0; a < code_views; ++a) {
    const Tensor q = codes_of(a, x[a], batch.epoch);
    for (std::size_t b = 0; b < views; ++b) {
      if (a == b) continue;
      const Tensor swapped = -mean(sum(q * log_p[b], {1}));
      loss = loss.defined() ? loss + swapped : swapped;
    }
  }
  loss = loss / static_cast<double>(code_views * (views - 1));
  if (is_training() && queue.defined()) enqueue(x);

  NoGrad guard;
  const Tensor used = mean(exp(log_p[0]), {0});
  const Tensor entropy = -sum(used * log(used + 1e-30));
  return {loss, {{"perplexity", exp(entropy)}}};
}

Tensor Swav::codes_of(std::size_t a, const Tensor& x, double epoch) const {
  NoGrad guard;
  Tensor rows = x.detach();
  const std::int64_t n = rows.size(0);
  const bool use_queue = queue.defined() && epoch >= options_.queue_epoch &&
                         queued.item<std::int64_t>() >= options_.queue;
  if (use_queue) rows = cat({rows, select(queue, 0, static_cast<std::int64_t>(a))});
  const Tensor scores = matmul(rows, transpose(prototypes.detach()));
  return narrow(sinkhorn(scores, options_.eps, options_.iterations), 0, 0, n);
}

void Swav::enqueue(const Tensors& x) {
  NoGrad guard;
  const std::int64_t n = x[0].size(0);
  check(options_.queue % n == 0, "swav",
        "expected a queue that is a multiple of the batch, got {} and {}", options_.queue, n);
  check(static_cast<std::int64_t>(x.size()) >= options_.code_views, "swav",
        "expected {} views to make codes from, got {}", options_.code_views, x.size());
  for (std::int64_t a = 0; a < options_.code_views; ++a) {
    const Tensor rows = select(queue, 0, a);
    copy_(rows,
          cat({x[static_cast<std::size_t>(a)].detach(), narrow(rows, 0, 0, options_.queue - n)}));
  }
  add_(queued, static_cast<double>(n));
}

void Swav::members(nn::Members& m) {
  m("prototypes", prototypes);
  m("queue", queue);
  m("queued", queued);
}

Swav::Options Swav::read_options(JsonReader& reader) {
  Options o;
  o.prototypes = reader.get("prototypes", o.prototypes);
  o.temperature = reader.get("temperature", o.temperature);
  o.eps = reader.get("eps", o.eps);
  o.iterations = reader.get("iterations", o.iterations);
  o.code_views = reader.get("code_views", o.code_views);
  o.freeze_epochs = reader.get("freeze_epochs", o.freeze_epochs);
  o.queue = reader.get("queue", o.queue);
  o.queue_epoch = reader.get("queue_epoch", o.queue_epoch);
  return o;
}

}  // namespace invar::ssl
