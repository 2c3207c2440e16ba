#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/progress.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/normality.hpp>
#include <map>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {
namespace {

/// Results of images, unit by unit, as if they were more units.
struct Collected {
  Tensors skewness, kurtosis, statistic, p_value;

  void add(const ssl::NormalTest& test) {
    skewness.push_back(test.skewness);
    kurtosis.push_back(test.kurtosis);
    statistic.push_back(test.statistic);
    p_value.push_back(test.p_value);
  }
  ssl::NormalTest all() const {
    return {cat(skewness), cat(kurtosis), cat(statistic), cat(p_value)};
  }
};

void summarise_into(Json& row, const ssl::NormalTest& test) {
  const std::int64_t units = sum(logical_not(isnan(test.p_value))).item<std::int64_t>();
  row["units"] = units;
  row["dropped"] = test.p_value.numel() - units;
  const ssl::NormalityReport report = units > 0 ? summarise(test) : ssl::NormalityReport();
  const auto value = [&](double v) { return units > 0 ? Json(v) : Json(); };
  row["mean_p"] = value(report.mean_p);
  row["rejected"] = value(report.rejected);
  row["median_abs_skewness"] = value(report.median_abs_skewness);
  row["median_abs_kurtosis"] = value(report.median_abs_kurtosis);
}

}  // namespace

Json measure_normality(const Study& study, const Subject& subject,
                       const NormalitySettings& settings) {
  NoGrad guard;
  const Tensor images = study.images(Split::test, settings.images).pixels;
  const std::int64_t most = *std::ranges::max_element(settings.draws);
  const std::int64_t draws = settings.draws[0];
  const std::int64_t second = std::min(settings.second_images, settings.images);
  const bool expander_too = settings.expander && subject.expander;
  Progress progress(
      "normality", "draws",
      second * most + (settings.images - second) * draws + (expander_too ? second * draws : 0));
  std::int64_t done = 0;
  Json rows = Json::array();
  for (const char* output : {"encoder", "expander"}) {
    const bool encoder = std::string_view(output) == "encoder";
    if (!encoder && !expander_too) continue;
    const Network& network = encoder ? subject.encoder : subject.expander;
    std::map<std::pair<double, std::int64_t>, Collected> collected;  // by sigma and draws
    for (std::int64_t i = 0; i < (encoder ? settings.images : second); ++i) {
      const Tensor image = narrow(images, 0, i, 1);
      Dims shape = images.shape();
      shape[0] = encoder && i < second ? most : draws;
      Generator generator(seed_for(study.seed, Purpose::normality, static_cast<std::uint64_t>(i)));
      const Tensor noise = randn(shape, {}, generator);
      for (const double sigma : settings.sigmas) {
        const Tensor outputs = apply_in_chunks(network, image + noise * sigma);
        for (const std::int64_t n : settings.draws) {
          if (n > shape[0]) continue;
          collected[{sigma, n}].add(ssl::normal_test(narrow(outputs, 0, 0, n)));
        }
      }
      progress.update(done += shape[0]);
    }
    for (const auto& [setting, tests] : collected) {
      Json row = {{"output", output},
                  {"sigma", setting.first},
                  {"draws", setting.second},
                  {"images", tests.p_value.size()}};
      summarise_into(row, tests.all());
      rows.push_back(row);
    }
  }
  progress.finish();
  return rows;
}

Json report_normality(const Study& study, const Json& rows, const NormalitySettings& settings) {
  const Names keys = {"output", "draws", "sigma"};
  Json tables = {
      table("mean p", "mean p-value of K^2 over units and images, then over networks",
            group_means(rows, keys, "mean_p")),
      table("comparisons", "mean p of group a less that of group b, over training seeds",
            comparisons(rows, study.trained_groups(), keys, "mean_p")),
      table("rejected", "share of units with p < .01", group_means(rows, keys, "rejected")),
      table("skewness", "median |skewness|", group_means(rows, keys, "median_abs_skewness")),
      table("kurtosis", "median |excess kurtosis|", group_means(rows, keys, "median_abs_kurtosis")),
      table("networks", "every network", rows)};
  Json figures = Json::array();
  for (const std::string output : {"encoder", "expander"}) {
    for (const auto& [value, label] : {std::pair{"mean_p", "mean p of K^2"},
                                       std::pair{"median_abs_skewness", "median |skewness|"}}) {
      const Json shown = where(rows, {{"output", output}, {"draws", settings.draws[0]}});
      if (shown.empty()) continue;
      figures.push_back(
          lines(fmt::format("normality-{}-{}", output, value),
                fmt::format("Normality of {} outputs, {} draws", output, settings.draws[0]),
                group_means(shown, {"sigma"}, value),
                {.x = "sigma",
                 .x_label = "sigma of the noise on the normalised input",
                 .y_label = label,
                 .log_x = true}));
    }
  }
  return {{"notes",
           {"A mean p-value is no effect size: under exact normality it is .50 (.504 at 512 draws, "
            "where 1.28 % fall below .01), and it falls with the number of draws for the same "
            "departure. p > .01 is failure to reject, not evidence of normality.",
            "Replication is over training seeds; images and units of one network are not "
            "independent. A linear network must give .50 +- .01 with enough images.",
            "Units without variance are dropped and counted. Mean p over all draws but the first "
            "number of them shows how the same departure looks with more or fewer."}},
          {"tables", tables},
          {"figures", figures}};
}

}  // namespace invar::app
