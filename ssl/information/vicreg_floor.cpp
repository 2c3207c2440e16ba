#include <algorithm>
#include <cmath>
#include <functional>
#include <invar/ssl/information/vicreg_floor.hpp>
#include <limits>

namespace invar::ssl {
namespace {

/// Where a slope becomes 0 that rises from low to high; low or high if it lies beyond.
double zero_of(const std::function<double(double)>& slope, double low, double high) {
  if (slope(high) <= 0) return high;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    (slope(middle) > 0 ? high : low) = middle;
  }
  return low;
}

}  // namespace

// With m = n - 1, k of d dimensions at variance v of std gamma, the others, r = d - k, at variance
// x of std t, and B = 2 b: if the k stand alone, the loss times d is
//
//   r a (gamma - t) + B (r / (m - k) - 1) r x^2,
//
// convex in t. If they do not, which takes (m - k) v <= r x, it is
//
//   r a (gamma - t) + B ((k v + r x)^2 / m - k v^2 - r x^2),
//
// whose slope r (-a + 4 B t (k v / m + (r/m - 1) x)) rises with t up to where the second addend is
// largest, if r < m, and in all t otherwise. Beyond that it may fall below 0 again, on the way to
// t = gamma, which k = 0 has.
VicregFloor vicreg_floor(std::int64_t n, std::int64_t d, const Vicreg::Options& options) {
  check(n >= 2 && d >= 1, "vicreg_floor", "expected n >= 2 and d >= 1, got {} and {}", n, d);
  const double a = options.variance * (options.halve_variance ? 1 : 2), b = 2 * options.covariance;
  const double least_std = std::sqrt(options.eps), most_std = std::max(options.gamma, least_std);
  const auto variance = [&](double t) { return t * t - options.eps; };
  const double m = static_cast<double>(n - 1), v = variance(most_std);

  VicregFloor least{most_std, 0, 0};
  const auto consider = [&](std::int64_t at_gamma, double t, double squares) {
    const double others = static_cast<double>(d - at_gamma);
    const double loss =
        (others * a * std::max(0.0, options.gamma - t) + b * squares) / static_cast<double>(d);
    if (loss < least.loss) least = {t, at_gamma, loss};
  };
  if (d < n) return least;  // no two dimensions need be correlated
  least.loss = std::numeric_limits<double>::infinity();
  const bool equal = a >= 8 * b * std::pow(options.gamma, 3);
  for (std::int64_t at_gamma = 0; at_gamma < (equal ? 1 : d); ++at_gamma) {
    const double k = static_cast<double>(at_gamma), r = static_cast<double>(d) - k;
    if (k < m) {
      const double excess = r / (m - k) - 1;
      const auto slope = [&](double t) { return 4 * b * excess * t * variance(t) - a; };
      const double t = zero_of(slope, least_std, most_std);
      consider(at_gamma, t, r * excess * variance(t) * variance(t));
    }
    if (k == 0) continue;
    const double falling = 1 - r / m;
    const auto slope = [&](double t) {
      return 4 * b * t * (k * v / m - falling * variance(t)) - a;
    };
    double turn = most_std;
    if (falling > 0) turn = std::sqrt((k * v / m + falling * options.eps) / (3 * falling));
    const double together = std::sqrt(std::max(0.0, (m - k) * v / r) + options.eps);
    const double t =
        std::max(together, zero_of(slope, least_std, std::clamp(turn, least_std, most_std)));
    const double x = variance(t), total = k * v + r * x;
    consider(at_gamma, t, total * total / m - k * v * v - r * x * x);
  }
  return least;
}

}  // namespace invar::ssl
