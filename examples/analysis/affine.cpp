#include <invar/core/progress.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/linearisation.hpp>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {

Json measure_affine(const Study& study, const Subject& subject, const AffineSettings& settings) {
  const Tensor images = study.images(Split::test, settings.images).pixels;
  Generator generator(seed_for(study.seed, Purpose::affine, 0));
  const Tensor noise = randn(images.shape(), {}, generator);
  Progress progress("affine", "sigmas", static_cast<std::int64_t>(settings.sigmas.size()));
  std::int64_t done = 0;
  Json rows = Json::array();
  for (const double sigma : settings.sigmas) {
    constexpr std::int64_t kChunk = 50;  // the graph of a double backward pass is large
    double error = 0, with_error = 0, flips = 0, same = 0;
    for (std::int64_t at = 0; at < settings.images; at += kChunk) {
      const std::int64_t n = std::min(kChunk, settings.images - at);
      const Tensor x = narrow(images, 0, at, n), other = x + narrow(noise, 0, at, n) * sigma;
      // NaN for an image whose output does not change: 0 / 0.
      const Tensor errors = to(ssl::linearisation_error(subject.encoder, x, other), DType::f64);
      const Tensor valid = logical_not(isnan(errors));
      error += sum(where(valid, errors, 0)).item();
      with_error += sum(to(valid, DType::f64)).item();
      if (subject.rectifiers) flips += sum(ssl::flip_rate(subject.encoder, x, other)).item();
      same += sum(ssl::same_region(subject.encoder, x, other)).item();
    }
    const auto n = static_cast<double>(settings.images);
    rows.push_back({{"sigma", sigma},
                    {"error", error / with_error},
                    {"flip_rate", flips / n},
                    {"same_region", same / n}});
    progress.update(++done);
  }
  progress.finish();
  return rows;
}

Json report_affine(const Study& study, const Json& rows) {
  const Json errors = group_means(rows, {"sigma"}, "error");
  const Json flips = group_means(rows, {"sigma"}, "flip_rate");
  const Names groups = study.trained_groups();
  return {
      {"notes",
       {"error: |f(x') - f(x) - J (x' - x)| / |f(x') - f(x)|, mean over images, in f32 (rounding "
        "shows where the noise is tiny). flip_rate: share of rectifiers that differ. same_region: "
        "share of images of which none does, and no max-pooling's winner either.",
        "Gaussian-looking outputs at a noise do not say that the network is affine there."}},
      {"tables",
       {table("error", "linearisation error", errors),
        table("flip rate", "share of rectifiers that flip", flips),
        table("same region", "share of images that stay in their affine region",
              group_means(rows, {"sigma"}, "same_region")),
        table("comparisons", "error of group a less that of group b",
              comparisons(rows, groups, {"sigma"}, "error")),
        table("networks", "every network", rows)}},
      {"figures",
       {lines("affine-error", "Linearisation error", errors,
              {.x = "sigma",
               .x_label = "sigma of the noise on the normalised input",
               .y_label = "relative error",
               .log_x = true}),
        lines("affine-flips", "Rectifiers that flip", flips,
              {.x = "sigma",
               .x_label = "sigma of the noise on the normalised input",
               .y_label = "share",
               .log_x = true,
               .log_y = true})}}};
}

}  // namespace invar::app
