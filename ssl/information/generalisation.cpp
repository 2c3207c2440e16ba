#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/generalisation.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <limits>

namespace invar::ssl {
namespace {

void check_targets(const char* op, const Tensor& z, const Tensor& y) {
  check(z.dim() == 2 && y.dim() == 2 && z.size(0) == y.size(0) && z.size(0) >= 1 && z.size(1) >= 1,
        op, "expected features [n, d] and targets [n, c] with n, d >= 1, got {} and {}", z.shape(),
        y.shape());
}

Tensor exact(const Tensor& x) { return to(x.detach(), DType::f64); }

}  // namespace

// W = (Z^T Z)^+ Z^T Y = Z^T (Z Z^T)^+ Y. Of the smaller Gram matrix G = V diag(l) V^T,
// G^+ = V diag(1/l) V^T over l above the tolerance.
Readout least_squares_readout(const Tensor& features, const Tensor& targets) {
  check_targets("least_squares_readout", features, targets);
  NoGrad guard;
  const Tensor z = exact(features), y = exact(targets);
  const bool wide = z.size(0) < z.size(1);
  const auto [values, vectors] = eigh(smaller_gram(z));
  const double tolerance = amax(values).item() * 1e-12;
  const Tensor used = gt(values, tolerance);
  const Tensor inverse = where(used, reciprocal(values), 0.0);
  const auto pseudo_inverse_times = [&, v = vectors](const Tensor& rhs) {
    return matmul(v * inverse, matmul(transpose(v), rhs));
  };
  Readout readout;
  readout.weight = wide ? matmul(transpose(z), pseudo_inverse_times(y))
                        : pseudo_inverse_times(matmul(transpose(z), y));
  readout.rank = sum(used).item<std::int64_t>();
  readout.residual =
      norm(matmul(z, readout.weight) - y).item() / std::sqrt(static_cast<double>(z.size(0)));
  readout.weight_norm = amax(svdvals(readout.weight)).item();
  return readout;
}

BoundTerms bound_terms(const Tensor& z, const Tensor& y, const Tensor& view, const Tensor& other,
                       const Tensor& unlabelled_targets) {
  check(view.dim() == 2 && view.shape() == other.shape() && view.size(0) >= 1 &&
            view.size(1) == z.size(-1),
        "bound_terms", "expected two views [m, {}], got {} and {}", z.size(-1), view.shape(),
        other.shape());
  NoGrad guard;
  BoundTerms terms;
  terms.readout = least_squares_readout(z, y);
  terms.labelled = terms.readout.residual;
  terms.invariance = mean(norm(exact(view) - exact(other), 2, {1})).item();
  terms.scaled_invariance = terms.readout.weight_norm * terms.invariance;
  terms.unlabelled = unlabelled_targets.defined()
                         ? 2 * least_squares_readout(view, unlabelled_targets).residual
                         : std::numeric_limits<double>::quiet_NaN();
  return terms;
}

std::vector<std::pair<std::string, double>> BoundTerms::named() const {
  return {{"bound_invariance", invariance},
          {"bound_scaled_invariance", scaled_invariance},
          {"bound_unlabelled", unlabelled},
          {"bound_labelled", labelled}};
}

double readout_risk(const Readout& readout, const Tensor& z, const Tensor& y) {
  check_targets("readout_risk", z, y);
  NoGrad guard;
  return mean(norm(matmul(exact(z), readout.weight) - exact(y), 2, {1})).item();
}

}  // namespace invar::ssl
