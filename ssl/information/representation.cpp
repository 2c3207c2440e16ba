#include <algorithm>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/information/representation.hpp>

namespace invar::ssl {
namespace {

/// z in f64, without history.
Tensor samples(const char* op, const Tensor& z, int dimensions, std::int64_t least) {
  check(is_floating(z.dtype()) && z.dim() == dimensions && z.size(0) >= least && z.size(-1) >= 1,
        op, "expected floating samples {} with n >= {} and d >= 1, got {} {}",
        dimensions == 2 ? "[n, d]" : "[n, views, d]", least, z.shape(), z.dtype());
  return to(z.detach(), DType::f64);
}

/// exp(-sum p log p) with p = values / sum + 1e-7; of no spread at all: 1, the smallest rank.
double exponential_entropy(const Tensor& values) {
  const double total = sum(values).item();
  if (!(total > 0)) return 1;
  const Tensor p = values / total + 1e-7;
  return std::exp(-sum(p * log(p)).item());
}

}  // namespace

Tensor covariance_spectrum(const Tensor& z) {
  NoGrad guard;
  const Tensor x = samples("covariance_spectrum", z, 2, 2);
  const std::int64_t n = x.size(0), d = x.size(1);
  // The smaller Gram matrix has all that are not 0. Rounding may leave some below 0.
  const Tensor values = relu(flip(eigvalsh(smaller_gram(centred(x))), {0}));
  return n < d ? cat({values, zeros({d - n}, values.options())}) : values;
}

double rankme(const Tensor& z) {
  NoGrad guard;
  return exponential_entropy(svdvals(samples("rankme", z, 2, 1)));
}

double participation_ratio(const Tensor& z) {
  NoGrad guard;
  const Tensor x = samples("participation_ratio", z, 2, 2);
  const Tensor deviations = x - mean(x, {0}, true);
  const double trace = sum(square(deviations)).item();
  check(trace > 0, "participation_ratio", "expected samples that differ, got equal ones");
  return trace * trace / sum(square(smaller_gram(deviations))).item();
}

// With S_w = L L^T the matrix L^-1 S_b L^-T has the same eigenvalues.
double lidar(const Tensor& z, double delta) {
  NoGrad guard;
  const Tensor x = samples("lidar", z, 3, 2);
  const std::int64_t n = x.size(0), views = x.size(1), d = x.size(2);
  check(views >= 2 && delta > 0, "lidar", "expected at least 2 views and delta > 0, got {} and {}",
        views, delta);
  const Tensor means = mean(x, {1}, true);
  const Tensor between = reshape(means - mean(means, {0}, true), {n, d});
  const Tensor within = reshape(x - means, {n * views, d});
  const Tensor s_w = matmul(transpose(within), within) / static_cast<double>(n * views) +
                     eye(d, -1, x.options()) * delta;
  const Tensor half = solve_triangular(cholesky(s_w), transpose(between), /*upper=*/false);
  const Tensor s = matmul(half, transpose(half)) / static_cast<double>(n);
  return exponential_entropy(relu(eigvalsh(s)));
}

PowerLaw alpha_req(const Tensor& z, std::int64_t first, std::int64_t last) {
  const Tensor spectrum = to(covariance_spectrum(z), kCpu);
  const double* const l = spectrum.data<double>();
  const auto positive = static_cast<std::int64_t>(
      std::count_if(l, l + spectrum.numel(), [&](double v) { return v > 1e-12 * l[0]; }));
  const std::int64_t end = last == 0 ? positive : last;
  check(first >= 1 && end > first && end <= positive, "alpha_req",
        "expected at least two of the {} positive eigenvalues, got {} to {}", positive, first, end);
  double sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0;
  const auto count = static_cast<double>(end - first + 1);
  for (std::int64_t k = first; k <= end; ++k) {
    const double x = std::log(static_cast<double>(k)), y = std::log(l[k - 1]);
    sx += x / count;
    sy += y / count;
    sxx += x * x / count;
    sxy += x * y / count;
    syy += y * y / count;
  }
  const double slope = (sxy - sx * sy) / (sxx - sx * sx), spread = syy - sy * sy;
  return {-slope, spread > 0 ? slope * slope * (sxx - sx * sx) / spread : 1};
}

Tensor dimension_std(const Tensor& z) {
  check(z.dim() == 2 && z.size(0) >= 2, "dimension_std",
        "expected samples [n, d] with n >= 2, got {}", z.shape());
  return std(z, {0});
}

Tensor alignment(const Tensor& z, const Tensor& other, double power) {
  check(z.dim() == 2 && z.size(0) >= 1 && z.shape() == other.shape(), "alignment",
        "expected two views [n, d], got {} and {}", z.shape(), other.shape());
  const Tensor distance2 = sum(square(normalize(z, 1) - normalize(other, 1)), {1});
  if (power == 2) return mean(distance2);
  // A pair that coincides has gradient 0 and not NaN: that of pow is infinite there.
  const Tensor apart = ne(distance2, 0);
  return mean(where(apart, pow(where(apart, distance2, 1), power / 2), 0));
}

Tensor uniformity(const Tensor& z, double t) {
  check(z.dim() == 2 && z.size(0) >= 2, "uniformity", "expected samples [n, d] with n >= 2, got {}",
        z.shape());
  const Tensor exponents = above_diagonal(squared_distances(normalize(z, 1))) * -t;
  return logsumexp(exponents) - std::log(static_cast<double>(exponents.numel()));
}

}  // namespace invar::ssl
