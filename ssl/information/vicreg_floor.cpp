#include <algorithm>
#include <cmath>
#include <invar/ssl/information/vicreg_floor.hpp>

namespace invar::ssl {
namespace {

/// a (gamma - t) + b (t^2 - eps)^2 at its least, and the t in [sqrt(eps), gamma] where that is. It
/// is convex there and its slope begins at -a <= 0: the zero of the slope, or gamma if that lies
/// beyond, is found by bisection.
VicregFloor least_of_equal_variances(double a, double b, double gamma, double eps) {
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
  return {low, 0, a * std::max(0.0, gamma - low) + b * std::pow(low * low - eps, 2)};
}

}  // namespace

VicregFloor vicreg_floor(std::int64_t n, std::int64_t d, const Vicreg::Options& options) {
  check(n >= 2 && d >= 1, "vicreg_floor", "expected n >= 2 and d >= 1, got {} and {}", n, d);
  const double a = options.variance * (options.halve_variance ? 1 : 2);
  const double b = options.covariance, gamma = options.gamma;
  const auto with_alone = [&](std::int64_t alone) {
    const double others = static_cast<double>(d - alone);
    const double k = std::max(0.0, others / static_cast<double>(n - 1 - alone) - 1);
    VicregFloor floor = least_of_equal_variances(a, 2 * b * k, gamma, options.eps);
    return VicregFloor{floor.std, alone, floor.loss * others / static_cast<double>(d)};
  };
  VicregFloor least = with_alone(0);
  if (d < n || a >= 16 * b * gamma * gamma * gamma) return least;
  for (std::int64_t alone = 1; alone < n - 1; ++alone) {
    const VicregFloor floor = with_alone(alone);
    if (floor.loss < least.loss) least = floor;
  }
  return least;
}

}  // namespace invar::ssl
