#pragma once
// Statistics of few numbers: what five training seeds say. f64 on the host, no tensors.
//
//   mean_interval          mean of a sample and its confidence interval (Student)
//   difference_interval    difference of two samples' means (Welch); of paired values, give
//                          mean_interval the differences
//   permutation_test       exact p-value for "both samples come from one distribution"
//   rank_correlation       Spearman's rho and its p-value
//
// Numbers are SciPy's (scipy.stats). Every input must be finite.
//
// Note [How many seeds]: the smallest p that a permutation test of n + m values can give is one
// (two for n = m, where exchanging the samples changes nothing) of C(n + m, n): .10 for 3 + 3,
// .0079 for 5 + 5. What is replicated is training, so the values are one per seed, not one per
// image.
#include <span>
#include <vector>

namespace invar::ssl {

/// P(T <= t) of Student's t distribution with `dof` > 0 degrees of freedom.
double student_t_cdf(double t, double dof);
/// The t with P(T <= t) = p, 0 < p < 1.
double student_t_quantile(double p, double dof);

/// An estimate and its confidence interval. Without a second value the interval is unknown: NaN.
struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
};

/// mean +- t s / sqrt(n) with n - 1 degrees of freedom; n >= 1.
Interval mean_interval(std::span<const double> values, double level = 0.95);

/// mean(a) - mean(b) without assuming equal variances: degrees of freedom by Welch and
/// Satterthwaite. n, m >= 1; the interval is NaN unless both are at least 2.
Interval difference_interval(std::span<const double> a, std::span<const double> b,
                             double level = 0.95);

/// How many values permutation_test takes: it goes through every subset.
inline constexpr std::size_t kMostPermuted = 24;

/// The share of all C(n + m, n) ways to deal the values out to samples of n and m whose means
/// differ at least as much as those of `a` and `b` do (two-sided, ties counted). n, m >= 1, n + m
/// <= kMostPermuted.
double permutation_test(std::span<const double> a, std::span<const double> b);

/// 1, 2, ..: the rank of each value; equal values share the mean of their ranks.
std::vector<double> ranks(std::span<const double> values);

struct RankCorrelation {
  double rho = 0;  ///< in [-1, 1]; NaN if one side is constant
  double p = 0;    ///< two-sided, by t = rho sqrt((n-2)/(1-rho^2)): rough below n = 10
};

/// Pearson's correlation of the ranks, n >= 3 pairs.
RankCorrelation rank_correlation(std::span<const double> x, std::span<const double> y);

}  // namespace invar::ssl
