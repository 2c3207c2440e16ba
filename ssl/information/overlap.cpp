#include <algorithm>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/overlap.hpp>
#include <limits>

namespace invar::ssl {

// |x_i - x_j|^2 - |x_i|^2 = |x_j|^2 - 2 x_i . x_j finds the neighbour; the distance itself is then
// computed without cancellation. (In f32 another row may be found that is as near up to rounding:
// less of it without the mean.)
Tensor nearest_neighbour_distances(const Tensor& input, std::int64_t queries) {
  check(is_floating(input.dtype()) && input.dim() >= 1 && input.size(0) >= 2,
        "nearest_neighbour_distances", "expected floating samples [n, ..] with n >= 2, got {} {}",
        input.shape(), input.dtype());
  const std::int64_t n = input.size(0), count = queries < 0 ? n : queries;
  check(count >= 1 && count <= n, "nearest_neighbour_distances", "expected 1 to {} queries, got {}",
        n, count);
  NoGrad guard;
  const Tensor raw = reshape(input.detach(), {n, input.numel() / n}),
               x = raw - mean(raw, {0}, true);
  const Tensor squares = sum(square(x), {1});
  constexpr std::int64_t kChunk = 500;  // [500, 60000] distances: 120 MB in f32
  Tensors distances;
  for (std::int64_t at = 0; at < count; at += kChunk) {
    const std::int64_t rows = std::min(kChunk, count - at);
    const Tensor query = narrow(x, 0, at, rows);
    const Tensor distance2 = squares - matmul(query, transpose(x)) * 2;
    fill_(diagonal(narrow(distance2, 1, at, rows)), std::numeric_limits<double>::infinity());
    const Tensor nearest = index_select(x, 0, argmin(distance2, 1));
    distances.push_back(norm(query - nearest, 2, {1}));
  }
  return cat(distances);
}

std::vector<OverlapRow> overlap(const Tensor& distances, std::int64_t dimensions, double sigma,
                                const std::vector<double>& quantiles) {
  check(distances.dim() == 1 && distances.numel() >= 1 && dimensions >= 1 && sigma > 0, "overlap",
        "expected distances [n], n >= 1, dimensions >= 1 and sigma > 0, got {}, {} and {}",
        distances.shape(), dimensions, sigma);
  NoGrad guard;
  const Tensor sorted = sort(to(to(distances.detach(), DType::f64), kCpu)).values;
  const double* const values = sorted.data<double>();
  std::vector<OverlapRow> rows;
  for (const double q : quantiles) {
    check(q >= 0 && q <= 1, "overlap", "expected quantiles in [0, 1], got {}", q);
    const double position = q * static_cast<double>(sorted.numel() - 1);
    const auto below = static_cast<std::int64_t>(position);
    const std::int64_t above = std::min(below + 1, sorted.numel() - 1);
    const double distance =
        values[below] + (values[above] - values[below]) * (position - static_cast<double>(below));
    const auto error = [&](double at) { return std::erfc(at / (2 * sigma * std::sqrt(2.0))) / 2; };
    const double per_dimension = distance / std::sqrt(static_cast<double>(dimensions));
    rows.push_back({q, distance, per_dimension, error(distance), error(per_dimension)});
  }
  return rows;
}

}  // namespace invar::ssl
