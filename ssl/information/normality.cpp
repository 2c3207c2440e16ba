#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/normality.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <limits>

namespace invar::ssl {
namespace {

/// Z1: an asinh transformation (D'Agostino 1970) of g1 over its standard deviation; of 1 where g1
/// is exactly 0, as in SciPy.
Tensor skewness_score(const Tensor& g1, double n) {
  const double variance = 6 * (n - 2) / ((n + 1) * (n + 3));
  const double beta2 =
      3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9));
  const double w2 = std::sqrt(2 * (beta2 - 1)) - 1;
  const double delta = 1 / std::sqrt(std::log(w2) / 2), alpha = std::sqrt(2 / (w2 - 1));
  // asinh(y) = sign(y) log(|y| + sqrt(y^2 + 1))
  const Tensor y = where(ne(g1, 0), g1 / std::sqrt(variance), 1.0) / alpha, size = abs(y);
  return sign(y) * log(size + sqrt(square(y) + 1)) * delta;
}

/// Z2: a cube-root transformation (Anscombe and Glynn 1983).
Tensor kurtosis_score(const Tensor& g2, double n) {
  const double expected = 3 * (n - 1) / (n + 1) - 3;
  const double variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) * (n + 1) * (n + 3) * (n + 5));
  const double root_beta1 = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9)) *
                            std::sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)));
  const double a =
      6 + 8 / root_beta1 * (2 / root_beta1 + std::sqrt(1 + 4 / (root_beta1 * root_beta1)));
  const Tensor x = (g2 - expected) / std::sqrt(variance);
  const Tensor denominator = x * std::sqrt(2 / (a - 4)) + 1;
  const Tensor cube_root = sign(denominator) * pow((1 - 2 / a) / abs(denominator), 1.0 / 3);
  return (1 - 2 / (9 * a) - cube_root) / std::sqrt(2 / (9 * a));
}

}  // namespace

NormalTest normal_test(const Tensor& input) {
  check_floating("normal_test", input.dtype());
  check(input.dim() >= 1 && input.size(0) >= 8, "normal_test",
        "expected at least 8 draws [n, ..], got {}", input.shape());
  NoGrad guard;
  const Tensor x = to(input, DType::f64);
  const auto n = static_cast<double>(x.size(0));
  const Tensor centre = mean(x, {0}, /*keepdim=*/true);
  const Tensor from_centre = x - centre, squares = square(from_centre);
  const Tensor m2 = mean(squares, {0});
  const Tensor noise = square(squeeze(centre, 0) * std::numeric_limits<double>::epsilon());
  // 0/0 makes the rest NaN.
  const Tensor variance = where(gt(m2, noise), m2, std::numeric_limits<double>::quiet_NaN());
  NormalTest result;
  result.skewness = mean(squares * from_centre, {0}) / (variance * sqrt(variance));
  result.kurtosis = mean(square(squares), {0}) / square(variance) - 3;
  result.statistic =
      square(skewness_score(result.skewness, n)) + square(kurtosis_score(result.kurtosis, n));
  result.p_value = exp(result.statistic * -0.5);
  return result;
}

NormalityReport summarise(const NormalTest& test) {
  const Tensor valid = logical_not(isnan(test.p_value));
  const Tensor p = masked_select(test.p_value, valid);
  NormalityReport report;
  report.units = p.numel();
  report.dropped = test.p_value.numel() - p.numel();
  check(report.units > 0, "summarise", "expected a unit with variance, got {} without",
        report.dropped);
  report.mean_p = mean(p).item();
  report.rejected = mean(to(lt(p, 0.01), DType::f64)).item();
  report.median_abs_skewness = lower_median(abs(masked_select(test.skewness, valid)));
  report.median_abs_kurtosis = lower_median(abs(masked_select(test.kurtosis, valid)));
  return report;
}

}  // namespace invar::ssl
