#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/information/conditional.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <numbers>

namespace invar::ssl {
namespace {

void check_pair(const char* op, const Tensor& z, const Tensor& other) {
  check(is_floating(z.dtype()) && z.dtype() == other.dtype() && z.shape() == other.shape(), op,
        "expected two tensors of one shape and floating dtype, got {} {} and {} {}", z.shape(),
        z.dtype(), other.shape(), other.dtype());
  check(z.dim() >= 2 && z.size(-2) >= 1 && z.size(-1) >= 1, op,
        "expected [.., n, d] with n >= 1 and d >= 1, got {}", z.shape());
}

}  // namespace

Tensor conditional_isotropic(const Tensor& mu, const Tensor& mu_other, double s2,
                             const Tensor& trace, const Tensor& trace_other) {
  check_pair("conditional_isotropic", mu, mu_other);
  check(s2 > 0, "conditional_isotropic", "expected s2 > 0, got {}", s2);
  Tensor spread = sum(square(mu - mu_other), {-1});
  for (const Tensor* t : {&trace, &trace_other}) {
    if (!t->defined()) continue;
    check(t->shape() == spread.shape(), "conditional_isotropic", "expected traces {}, got {}",
          spread.shape(), t->shape());
    spread = spread + *t;
  }
  return mean(spread, {-1}) * (-0.5 / s2) -
         static_cast<double>(mu.size(-1)) * std::log(2 * std::numbers::pi * s2) / 2;
}

Tensor conditional_fitted(const Tensor& z, const Tensor& z_other, double beta) {
  check_pair("conditional_fitted", z, z_other);
  const std::int64_t n = z.size(-2), d = z.size(-1);
  check(beta > 0 || (beta == 0 && n >= d), "conditional_fitted",
        "expected beta > 0{}, got beta {} for {}", n >= d ? " or beta = 0" : "", beta, z.shape());
  return -logdet_entropy_of_rows((z - z_other) / std::sqrt(static_cast<double>(n)), beta);
}

Tensor conditional_published(const Tensor& mu, const Tensor& mu_other, const Tensor& sigma,
                             const Tensor& sigma_other, double beta) {
  check_pair("conditional_published", mu, mu_other);
  check(beta >= 0, "conditional_published", "expected beta >= 0, got {}", beta);
  const std::int64_t d = mu.size(-1);
  Tensor total = sum(square(mu - mu_other), {-1}) * -0.5;
  for (const Tensor* s : {&sigma, &sigma_other}) {
    check(mu.dim() == 2 && s->shape() == Dims{mu.size(0), d, d} && s->dtype() == mu.dtype(),
          "conditional_published", "expected mu [n, d] and sigma [n, d, d], got {} and {}",
          mu.shape(), s->shape());
    total = total - logdet(*s + eye(d, -1, s->options()) * beta);
  }
  return mean(total);
}

}  // namespace invar::ssl
