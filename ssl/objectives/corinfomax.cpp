#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/corinfomax.hpp>
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

CorInfoMax::CorInfoMax(std::int64_t dim, const Options& options)
    : Objective("corinfomax"), options_(options) {
  check_not_negative(name(), {{"invariance", options.invariance}});
  check(options.old >= 0 && options.old <= 1, name(), "expected old in [0, 1], got {}",
        options.old);
  check(options.eps >= 0, name(), "expected eps >= 0, got {}", options.eps);
  check(options.views >= 2, name(), "expected at least 2 views, got {}", options.views);
  r = nn::Buffer(repeat(eye(dim, -1, {.dtype = DType::f64}), {options.views, 1, 1}));
  mu = nn::Buffer(zeros({options.views, 1, dim}, {.dtype = DType::f64}));
}

ObjectiveOutput CorInfoMax::compute(const EmbeddedBatch& batch) {
  const Tensors& z = batch.embeddings;
  const std::int64_t n = z[0].size(0), d = z[0].size(1);
  check(static_cast<std::int64_t>(z.size()) == options_.views, "corinfomax",
        "expected {} views, got {}: it keeps a covariance for each; see its option \"views\"",
        options_.views, z.size());
  check(d == mu.size(2), "corinfomax", "expected embeddings of {} dimensions, got {}", mu.size(2),
        d);
  Tensors rows;
  for (const Tensor& view : z) rows.push_back(normalize(view));
  const Tensor invariance = mean_squared_distance(rows);

  const double kept = options_.old;
  const Tensor x = invar::to(stack(rows), DType::f64);  // [views, n, d]
  const Tensor new_mu = mu * kept + mean(x, {1}, /*keepdim=*/true) * (1 - kept);
  const Tensor centred = x - new_mu;
  const Tensor new_r =
      r * kept + matmul(transpose(centred), centred) * ((1 - kept) / static_cast<double>(n));
  const Tensor identity = eye(d, -1, x.options());
  const double pair = 2.0 / static_cast<double>(z.size());
  const Tensor spread = invar::to(
      sum(logdet(new_r + identity * options_.eps)) * (pair / static_cast<double>(d)), z[0].dtype());
  if (is_training()) {
    NoGrad guard;
    copy_(r, new_r);
    copy_(mu, new_mu);
  }
  return {invariance * options_.invariance - spread,
          {{"invariance", invariance.detach()}, {"logdet", spread.detach()}}};
}

void CorInfoMax::members(nn::Members& m) {
  m("r", r);
  m("mu", mu);
}

CorInfoMax::Options CorInfoMax::read_options(JsonReader& reader) {
  Options o;
  o.invariance = reader.get("invariance", o.invariance);
  o.old = reader.get("old", o.old);
  o.eps = reader.get("eps", o.eps);
  o.views = reader.get("views", o.views);
  return o;
}

}  // namespace invar::ssl
