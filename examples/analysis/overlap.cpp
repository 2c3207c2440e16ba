#include <algorithm>
#include <cmath>
#include <invar/ssl/information/overlap.hpp>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {

Json report_overlap(const Study& study, const OverlapSettings& settings) {
  const std::int64_t n = settings.images == 0 ? study.train->size() : settings.images;
  const Tensor images = study.raw_images(Split::train, n);
  const std::int64_t dimensions = images.numel() / n;
  const Tensor distances = ssl::nearest_neighbour_distances(images, std::min(settings.queries, n));
  Json rows = Json::array(), series = Json::array();
  for (const double quantile : settings.quantiles) {
    series.push_back({{"name", fmt::format("{:.3g} % nearest", 100 * quantile)},
                      {"x", Json::array()},
                      {"y", Json::array()},
                      {"low", Json::array()},
                      {"high", Json::array()}});
  }
  for (const double sigma : settings.sigmas) {
    std::size_t line = 0;
    for (const ssl::OverlapRow& row :
         ssl::overlap(distances, dimensions, sigma, settings.quantiles)) {
      rows.push_back({{"sigma", sigma},
                      {"quantile", row.quantile},
                      {"distance", row.distance},
                      {"distance_per_sqrt_dimension", row.distance_per_dimension},
                      {"noise_length", sigma * std::sqrt(static_cast<double>(dimensions))},
                      {"overlap", row.error},
                      {"overlap_per_sqrt_dimension", row.error_per_dimension}});
      series[line]["x"].push_back(sigma);
      series[line++]["y"].push_back(row.error);
    }
  }
  return {
      {"notes",
       {"Phi(-D / 2 sigma) at quantiles of the distance D to the nearest neighbour; pixels in [0, "
        "1], without normalisation.",
        "In many dimensions it is small even for noise that destroys the picture: the noise's "
        "length is sigma times the root of the dimension."}},
      {"tables",
       {table("overlap",
              fmt::format("{} queries among {} training images of {} dimensions", distances.numel(),
                          n, dimensions),
              rows)}},
      {"figures",
       {{{"name", "overlap"},
         {"title", "Overlap of Gaussians around neighbours"},
         {"x_label", "sigma of the noise on pixels in [0, 1]"},
         {"y_label", "Phi(-D / 2 sigma)"},
         {"log_x", true},
         {"log_y", false},
         {"series", series}}}}};
}

}  // namespace invar::app
