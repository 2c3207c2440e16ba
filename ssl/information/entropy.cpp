#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/pieces.hpp>

namespace invar::ssl {
namespace {

void check_samples(const char* op, const Tensor& z, std::int64_t least) {
  check_floating(op, z.dtype());
  check(z.dim() >= 2 && z.size(-2) >= least && z.size(-1) >= 1, op,
        "expected samples [.., n, d] with n >= {} and d >= 1, got {}", least, z.shape());
}

}  // namespace

double pairwise_constant(PairwiseBound bound) { return bound == PairwiseBound::upper ? 2 : 8; }

Tensor covariance(const Tensor& z) {
  check_samples("covariance", z, 2);
  const Tensor x = centred(z);
  return matmul(transpose(x), x);
}

Tensor gaussian_entropy(const Tensor& sigma) {
  return logdet(sigma) * 0.5 + static_cast<double>(sigma.size(-1)) * kLog2PiE / 2;
}

Tensor logdet_entropy(const Tensor& z, const LogDetOptions& options) {
  check_samples("logdet_entropy", z, 2);
  const std::int64_t n = z.size(-2), d = z.size(-1);
  check(options.beta > 0 || (options.beta == 0 && n > d), "logdet_entropy",
        "expected beta > 0{}, got beta {} for {}", n > d ? " or beta = 0" : "", options.beta,
        z.shape());
  return logdet_entropy_of_rows(centred(z), options.beta,
                                options.correct_bias ? wishart_bias(n, d) : 0);
}

double digamma(double x) {
  check(x > 0, "digamma", "expected x > 0, got {}", x);
  double y = 0;
  for (; x < 12; ++x) y -= 1 / x;  // psi(x) = psi(x + 1) - 1/x
  // log x - 1/(2x) - sum_k B_2k / (2k x^2k), B_2k the Bernoulli numbers; the next term is below
  // 1e-15 from 12 on.
  const double r = 1 / (x * x);
  const double tail =
      r *
      (1.0 / 12 -
       r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 - r * (691.0 / 32760))))));
  return y + std::log(x) - 0.5 / x - tail;
}

double wishart_bias(std::int64_t n, std::int64_t d) {
  check(d >= 1 && n > d, "wishart_bias", "expected n > d >= 1, got n {} and d {}", n, d);
  double sum = static_cast<double>(d) * std::log(2 / static_cast<double>(n - 1));
  for (std::int64_t i = 1; i <= d; ++i) sum += digamma(static_cast<double>(n - i) / 2);
  return sum / 2;
}

// |z_i - z_j|^2 = |z_i|^2 + |z_j|^2 - 2 z_i . z_j cancels; without the mean it cancels less. What
// rounding leaves on the diagonal or below 0 is cut off.
Tensor squared_distances(const Tensor& z) {
  check_samples("squared_distances", z, 1);
  const Tensor x = z - mean(z, {-2}, /*keepdim=*/true).detach();
  const Tensor squares = sum(square(x), {-1}, /*keepdim=*/true);
  const Tensor distances = squares + transpose(squares) - matmul(x, transpose(x)) * 2;
  return relu(distances * (1 - eye(z.size(-2), -1, z.options())));
}

Tensor pairwise_information(const Tensor& z, double s2, PairwiseBound bound) {
  check(s2 > 0, "pairwise_information", "expected s2 > 0, got {}: see pairwise_s2", s2);
  const Tensor exponents = squared_distances(z) * (-1 / (pairwise_constant(bound) * s2));
  return std::log(static_cast<double>(z.size(-2))) - mean(logsumexp(exponents, {-1}), {-1});
}

Tensor pairwise_entropy(const Tensor& z, double s2, PairwiseBound bound) {
  return pairwise_information(z, s2, bound) +
         static_cast<double>(z.size(-1)) * (kLog2PiE + std::log(s2)) / 2;
}

// With x = z_i + s e_i: |e_i|^2 - |x - z_j|^2 / s2 = -D_ij / s2 - 2 e_i . (z_i - z_j) / s. The
// large |e_i|^2 never appears, and what stands at j = i is 0.
Tensor mixture_information(const Tensor& z, double s2, const Tensor& noise) {
  constexpr const char* kOp = "mixture_information";
  check(s2 > 0, kOp, "expected s2 > 0, got {}: see pairwise_s2", s2);
  check(noise.shape() == z.shape(), kOp, "expected noise of z's shape {}, got {}", z.shape(),
        noise.shape());
  const Tensor distances = squared_distances(z);
  const Tensor x = z - mean(z, {-2}, /*keepdim=*/true).detach();
  const Tensor shifts = matmul(noise, transpose(x)) - sum(noise * x, {-1}, /*keepdim=*/true);
  const Tensor others = 1 - eye(z.size(-2), -1, z.options());  // rounding would leave more than 0
  const Tensor exponents = distances * (-0.5 / s2) + shifts * others / std::sqrt(s2);
  return std::log(static_cast<double>(z.size(-2))) - mean(logsumexp(exponents, {-1}), {-1});
}

double pairwise_s2(const Tensor& z, PairwiseBound bound) {
  check_samples("pairwise_s2", z, 2);
  check(z.dim() == 2, "pairwise_s2", "expected samples [n, d], got {}", z.shape());
  NoGrad guard;
  const double median = lower_median(above_diagonal(squared_distances(z)));
  check(median > 0, "pairwise_s2", "expected samples that differ, got half of the pairs equal");
  return median / (pairwise_constant(bound) * std::log(static_cast<double>(z.size(0))));
}

}  // namespace invar::ssl
