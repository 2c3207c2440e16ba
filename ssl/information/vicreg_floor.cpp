#include <algorithm>
#include <cmath>
#include <invar/ssl/information/vicreg_floor.hpp>

namespace invar::ssl {

// a (gamma - t) + b (t^2 - eps)^2 is convex for t >= sqrt(eps); its slope there is -a <= 0. The
// zero of the slope, or gamma if it lies beyond, is found by bisection.
VicregFloor vicreg_floor(std::int64_t n, std::int64_t d, const Vicreg::Options& options) {
  check(n >= 2 && d >= 1, "vicreg_floor", "expected n >= 2 and d >= 1, got {} and {}", n, d);
  const double k = std::max(0.0, static_cast<double>(d) / static_cast<double>(n - 1) - 1);
  const double a = options.variance * (options.halve_variance ? 1 : 2);
  const double b = 2 * options.covariance * k;
  const double gamma = options.gamma, eps = options.eps;
  const auto slope = [&](double t) { return 4 * b * t * (t * t - eps) - a; };
  double low = std::sqrt(eps), high = std::max(gamma, low);
  if (slope(high) <= 0) {
    low = high;
  } else {
    for (int i = 0; i < 200 && low < high; ++i) {
      const double middle = low + (high - low) / 2;
      (slope(middle) > 0 ? high : low) = middle;
    }
  }
  return {low, a * std::max(0.0, gamma - low) + b * std::pow(low * low - eps, 2)};
}

}  // namespace invar::ssl
