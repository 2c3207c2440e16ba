#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <invar/core/error.hpp>
#include <invar/ssl/information/statistics.hpp>
#include <limits>
#include <numeric>

namespace invar::ssl {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void check_finite(const char* op, std::span<const double> values, std::size_t least) {
  check(values.size() >= least, op, "expected at least {} values, got {}", least, values.size());
  for (const double v : values) check(std::isfinite(v), op, "expected finite values, got {}", v);
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Unbiased; NaN of one value.
double variance_of(std::span<const double> values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return values.size() < 2 ? kNaN : sum / static_cast<double>(values.size() - 1);
}

/// The continued fraction of the regularised incomplete beta function, by Lentz' method; converges
/// fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto away_from_0 = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_0(1 - (a + b) * x / (a + 1)), result = d;
  for (int m = 1; m <= 1000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_0(1 + even * d);
    c = away_from_0(1 + even / c);
    result *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_0(1 + odd * d);
    c = away_from_0(1 + odd / c);
    result *= c * d;
    if (std::abs(c * d - 1) < 1e-16) break;
  }
  return result;
}

/// I_x(a, b), the distribution function of the beta distribution; y = 1 - x, of which little may be
/// left in x.
double regularised_beta(double a, double b, double x, double y) {
  if (x <= 0 || y <= 0) return x <= 0 ? 0 : 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log(y));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                   : 1 - front * beta_fraction(b, a, y) / b;
}

/// P(|T| >= |t|).
double student_t_two_sided(double t, double dof) {
  const double squares = dof + t * t;
  return regularised_beta(dof / 2, 0.5, dof / squares, t * t / squares);
}

Interval around(double centre, double error, double dof, double level) {
  check(level > 0 && level < 1, "interval", "expected a level in (0, 1), got {}", level);
  if (!(error > 0)) return {centre, centre + error, centre - error};  // NaN, or no spread at all
  const double half = student_t_quantile((1 + level) / 2, dof) * error;
  return {centre, centre - half, centre + half};
}

}  // namespace

double student_t_cdf(double t, double dof) {
  check(dof > 0, "student_t_cdf", "expected dof > 0, got {}", dof);
  const double tail = student_t_two_sided(t, dof) / 2;
  return t > 0 ? 1 - tail : tail;
}

double student_t_quantile(double p, double dof) {
  check(p > 0 && p < 1 && dof > 0, "student_t_quantile",
        "expected 0 < p < 1 and dof > 0, got {} and {}", p, dof);
  const double tail = 2 * std::min(p, 1 - p);  // P(|T| >= t)
  double low = 0, high = 1;
  while (student_t_two_sided(high, dof) > tail) high *= 2;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    (student_t_two_sided(middle, dof) > tail ? low : high) = middle;
  }
  return p < 0.5 ? -low : low;
}

Interval mean_interval(std::span<const double> values, double level) {
  check_finite("mean_interval", values, 1);
  const auto n = static_cast<double>(values.size());
  return around(mean_of(values), std::sqrt(variance_of(values) / n), n - 1, level);
}

Interval difference_interval(std::span<const double> a, std::span<const double> b, double level) {
  check_finite("difference_interval", a, 1);
  check_finite("difference_interval", b, 1);
  const auto n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  const double va = variance_of(a) / n, vb = variance_of(b) / m, v = va + vb;
  const double dof = v * v / (va * va / (n - 1) + vb * vb / (m - 1));
  return around(mean_of(a) - mean_of(b), std::sqrt(v), dof, level);
}

// Every subset of size n stands for one way: `chosen` runs over the bit masks of n bits.
double permutation_test(std::span<const double> a, std::span<const double> b) {
  check_finite("permutation_test", a, 1);
  check_finite("permutation_test", b, 1);
  const std::size_t n = a.size(), all = n + b.size();
  check(all <= kMostPermuted, "permutation_test", "expected at most {} values in all, got {}",
        kMostPermuted, all);
  std::vector<double> values(a.begin(), a.end());
  values.insert(values.end(), b.begin(), b.end());
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  const double inverse_n = 1 / static_cast<double>(n),
               inverse_m = 1 / static_cast<double>(b.size());
  const auto difference = [&](double sum) {
    return std::abs(sum * inverse_n - (total - sum) * inverse_m);
  };
  double scale = 0;
  for (const double v : values) scale = std::max(scale, std::abs(v));
  const double observed = difference(std::accumulate(a.begin(), a.end(), 0.0)) - 1e-12 * scale;
  std::uint64_t ways = 0, as_large = 0;
  for (std::uint32_t chosen = 0; chosen < 1U << all; ++chosen) {
    if (static_cast<std::size_t>(std::popcount(chosen)) != n) continue;
    double sum = 0;
    for (std::size_t i = 0; i < all; ++i) sum += (chosen >> i & 1U) != 0 ? values[i] : 0;
    ++ways;
    if (difference(sum) >= observed) ++as_large;
  }
  return static_cast<double>(as_large) / static_cast<double>(ways);
}

std::vector<double> ranks(std::span<const double> values) {
  check_finite("ranks", values, 0);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  std::vector<double> result(values.size());
  for (std::size_t from = 0; from < order.size();) {
    std::size_t to = from + 1;
    while (to < order.size() && values[order[to]] == values[order[from]]) ++to;
    for (std::size_t i = from; i < to; ++i)
      result[order[i]] = static_cast<double>(from + to + 1) / 2;
    from = to;
  }
  return result;
}

RankCorrelation rank_correlation(std::span<const double> x, std::span<const double> y) {
  check(x.size() == y.size() && x.size() >= 3, "rank_correlation",
        "expected at least 3 pairs, got {} and {} values", x.size(), y.size());
  const std::vector<double> a = ranks(x), b = ranks(y);
  const double centre = (static_cast<double>(x.size()) + 1) / 2;
  double aa = 0, ab = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - centre) * (a[i] - centre);
    ab += (a[i] - centre) * (b[i] - centre);
    bb += (b[i] - centre) * (b[i] - centre);
  }
  if (aa == 0 || bb == 0) return {kNaN, kNaN};
  const double rho = std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0);
  const auto dof = static_cast<double>(x.size() - 2);
  return {rho, std::abs(rho) == 1
                   ? 0
                   : student_t_two_sided(rho * std::sqrt(dof / (1 - rho * rho)), dof)};
}

}  // namespace invar::ssl
