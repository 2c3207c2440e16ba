#pragma once
// Are the outputs of a network normal? D'Agostino and Pearson's K^2 per unit (D'Agostino, Belanger,
// D'Agostino, "A suggestion for using powerful and informative tests of normality", 1990), with
// SciPy's numbers (scipy.stats.normaltest).
//
//   g1 = m3 / m2^(3/2)           skewness, m_k the central moments (divided by n)
//   g2 = m4 / m2^2 - 3           excess kurtosis
//   Z1(g1), Z2(g2)               each nearly N(0, 1) if the n draws are normal
//   K^2 = Z1^2 + Z2^2            nearly chi^2 with 2 degrees of freedom
//   p = exp(-K^2 / 2)
//
// Where the skewness is exactly 0 (a sample that is symmetric to the last bit), Z1 is not 0 but
// that of a skewness of one standard deviation, because SciPy's is.
//
// Note [What a p-value says]: under exact normality p is nearly uniform, its mean .50 (.504 at 512
// draws, where 1.28 % fall below .01: Monte Carlo, 2 million samples). p > .01 is failure to
// reject, not evidence of normality, and p falls with the number of draws for the same departure:
// with z + a (z^2 - 1)/sqrt 2, a = .05, its mean is .406, .198, .011 at 128, 512, 2048 draws. So p
// is no effect size: report skewness and kurtosis beside it.
#include <cstdint>
#include <invar/core/tensor.hpp>

namespace invar::ssl {

/// Each of x's shape without the first dimension, f64. NaN for a unit without variance, as in
/// SciPy: one whose m2 is at most (2^-52 mean)^2.
struct NormalTest {
  Tensor skewness;
  Tensor kurtosis;   ///< excess: 0 for a normal distribution
  Tensor statistic;  ///< K^2
  Tensor p_value;
};

/// Of the draws along the first dimension of x [n, ..], n >= 8, for each of the other indices.
NormalTest normal_test(const Tensor& x);

/// What the protocol reports of many units.
struct NormalityReport {
  std::int64_t units = 0;    ///< with variance
  std::int64_t dropped = 0;  ///< without
  double mean_p = 0;
  double rejected = 0;  ///< share with p < 0.01
  double median_abs_skewness = 0;
  double median_abs_kurtosis = 0;  ///< of the excess
};

/// Error if no unit has variance.
NormalityReport summarise(const NormalTest& test);

}  // namespace invar::ssl
