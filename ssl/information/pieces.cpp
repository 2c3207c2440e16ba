#include <algorithm>
#include <cmath>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/pieces.hpp>

namespace invar::ssl {

Tensor centred(const Tensor& z) {
  return (z - mean(z, {-2}, /*keepdim=*/true)) / std::sqrt(static_cast<double>(z.size(-2) - 1));
}

Tensor smaller_gram(const Tensor& x) {
  const Tensor t = transpose(x);
  return x.size(-2) < x.size(-1) ? matmul(x, t) : matmul(t, x);
}

Tensor logdet_entropy_of_rows(const Tensor& x, double beta, double bias) {
  const std::int64_t n = x.size(-2), d = x.size(-1);
  const Tensor regularised =
      to(smaller_gram(x), DType::f64) + eye(std::min(n, d), -1, {DType::f64, x.device()}) * beta;
  double constant = static_cast<double>(d) * kLog2PiE / 2;
  if (n < d) constant += static_cast<double>(d - n) * std::log(beta) / 2;
  return to(logdet(regularised) * 0.5 + (constant - bias), x.dtype());
}

Tensor above_diagonal(const Tensor& matrix) {
  const Tensor all = ones(matrix.shape(), {matrix.dtype(), matrix.device()});
  return masked_select(matrix, to(triu(all, 1), DType::boolean));
}

double lower_median(const Tensor& values) {
  return select(sort(values).values, 0, (values.numel() - 1) / 2).item();
}

Tensor rows_of_unit_variance(const Tensor& z) {
  return normalize(z) * std::sqrt(static_cast<double>(z.size(1)));
}

}  // namespace invar::ssl
