#include <cmath>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/objectives/sigreg.hpp>

namespace invar::ssl {

Tensor epps_pulley(const Tensor& u, std::int64_t knots, double t_max) {
  check(knots >= 3 && knots % 2 == 1 && t_max > 0, "epps_pulley",
        "expected an odd number of knots, at least 3, and t_max > 0, got {} and {}", knots, t_max);
  const std::int64_t half = (knots + 1) / 2;
  const double step = t_max / static_cast<double>(half - 1);
  Tensor total = zeros({u.size(1)}, u.options());
  for (std::int64_t i = 0; i < half; ++i) {
    const double t = static_cast<double>(i) * step;
    const double gauss = std::exp(-t * t / 2);
    const double weight = (i == 0 || i == half - 1 ? 1 : 2) * step * gauss;
    const Tensor angle = u * t;
    const Tensor re = mean(cos(angle), {0}) - gauss, im = mean(sin(angle), {0});
    total = total + (square(re) + square(im)) * weight;
  }
  return total * static_cast<double>(u.size(0));
}

ObjectiveOutput SigReg::compute(const EmbeddedBatch& batch) {
  const Tensor z = stack(batch.embeddings);  // [views, n, d]
  const Tensor invariance = mean(square(z - mean(z, {0}, /*keepdim=*/true)));
  // Drawn in f32, so that f64 has the same directions.
  const Tensor directions = randn({z.size(2), options_.slices}, {.device = z.device()});
  const Tensor a = normalize(invar::to(directions, z.dtype()), 0);
  Tensor sigreg = zeros({}, z.options());
  for (const Tensor& view : batch.embeddings) {
    sigreg = sigreg + mean(epps_pulley(matmul(view, a), options_.knots, options_.t_max));
  }
  sigreg = sigreg / static_cast<double>(batch.embeddings.size());
  return {invariance * (1 - options_.lambda) + sigreg * options_.lambda,
          {{"invariance", invariance.detach()}, {"sigreg", sigreg.detach()}}};
}

SigReg::SigReg(const Options& options) : Objective("sigreg"), options_(options) {
  check(options.lambda >= 0 && options.lambda <= 1, name(), "expected lambda in [0, 1], got {}",
        options.lambda);
  check(options.slices >= 1 && options.t_max > 0, name(),
        "expected slices >= 1 and t_max > 0, got {}, {}", options.slices, options.t_max);
  check(options.knots >= 3 && options.knots % 2 == 1, name(),
        "expected an odd number of knots, at least 3, got {}", options.knots);
}

SigReg::Options SigReg::read_options(JsonReader& reader) {
  Options o;
  o.lambda = reader.get("lambda", o.lambda);
  o.slices = reader.get("slices", o.slices);
  o.knots = reader.get("knots", o.knots);
  o.t_max = reader.get("t_max", o.t_max);
  return o;
}

}  // namespace invar::ssl
