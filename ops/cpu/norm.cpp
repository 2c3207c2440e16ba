// Normalisation. A batch's statistics are sums over columns of a dense [rows, channels] matrix.
// They are cut into pieces of rows that depend on the shape only and are added in order, in f64.
#include <cmath>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <vector>

namespace invar::cpu {
namespace {

/// The value of an optional parameter, as a row of C numbers.
template <class T>
std::vector<T> row_or(const Tensor& t, std::int64_t c, T otherwise) {
  if (!t.defined()) return std::vector<T>(static_cast<std::size_t>(c), otherwise);
  return {t.data<const T>(), t.data<const T>() + c};
}

constexpr std::int64_t kPieceElements = 65536;

std::int64_t piece_rows(std::int64_t c) { return std::max<std::int64_t>(kPieceElements / c, 32); }

/// Two sums per channel over all rows: 2 c numbers. add<n>(row, first, second) adds the terms of
/// the n rows that begin at `row`; rows go four at a time, so that the sums pass through memory
/// less.
template <class Add>
std::vector<double> column_sums(std::int64_t rows, std::int64_t c, const Add& add) {
  const std::int64_t piece = piece_rows(c), pieces = (rows + piece - 1) / piece;
  std::vector<double> partial(static_cast<std::size_t>(pieces * 2 * c), 0.0);
  parallel_for(rows, piece, [&](std::int64_t begin, std::int64_t end) {
    double* const first = partial.data() + begin / piece * 2 * c;
    double* const second = first + c;
    std::int64_t r = begin;
    for (; r + 4 <= end; r += 4) add.template operator()<4>(r, first, second);
    for (; r < end; ++r) add.template operator()<1>(r, first, second);
  });
  for (std::int64_t p = 1; p < pieces; ++p) {
    for (std::int64_t i = 0; i < 2 * c; ++i) partial[i] += partial[p * 2 * c + i];
  }
  partial.resize(static_cast<std::size_t>(2 * c));
  return partial;
}

}  // namespace

// With d = x - shift, mean = shift + sum(d) / m and var = (sum(d^2) - sum(d)^2 / m) / m. The shift
// is the first row: one of the values themselves, so (shift - mean)^2 <= m var, and the subtraction
// cannot lose more than a factor m of f64's precision.
void batch_norm_statistics(const Tensor& x, const Tensor& mean, const Tensor& var) {
  visit_real(x.dtype(), "batch_norm", [&]<class T>() {
    const std::int64_t c = mean.numel(), rows = x.numel() / c;
    const T* const from = x.data<const T>();
    const std::vector<double> shift(from, from + c);
    const auto add = [&]<int kRows>(std::int64_t row, double* __restrict sum,
                                    double* __restrict squares) {
      const T* const __restrict v = from + row * c;
      const double* const __restrict s = shift.data();
      for (std::int64_t i = 0; i < c; ++i) {
        double d[kRows], total = 0, total_squares = 0;
        for (int r = 0; r < kRows; ++r) {
          d[r] = static_cast<double>(v[r * c + i]) - s[i];
          total += d[r];
          total_squares += d[r] * d[r];
        }
        sum[i] += total;
        squares[i] += total_squares;
      }
    };
    const std::vector<double> sums = column_sums(rows, c, add);
    const auto m = static_cast<double>(rows);
    for (std::int64_t i = 0; i < c; ++i) {
      const double d = sums[i] / m;
      mean.data<T>()[i] = static_cast<T>(shift[i] + d);
      const double v = sums[c + i] / m - d * d;
      var.data<T>()[i] = static_cast<T>(v < 0 ? 0 : v);
    }
  });
}

void batch_norm(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                const Tensor& bias, const Tensor& out) {
  visit_real(x.dtype(), "batch_norm", [&]<class T>() {
    const std::int64_t c = mean.numel(), rows = x.numel() / c;
    std::vector<T> scale = row_or<T>(weight, c, 1);
    for (std::int64_t i = 0; i < c; ++i) scale[i] *= rstd.data<const T>()[i];
    const std::vector<T> shift = row_or<T>(bias, c, 0);
    parallel_for(rows, piece_rows(c), [&](std::int64_t begin, std::int64_t end) {
      const T* const __restrict m = mean.data<const T>();
      const T* const __restrict s = scale.data();
      const T* const __restrict b = shift.data();
      for (std::int64_t r = begin; r < end; ++r) {
        const T* const __restrict v = x.data<const T>() + r * c;
        T* const __restrict y = out.data<T>() + r * c;
        for (std::int64_t i = 0; i < c; ++i) y[i] = (v[i] - m[i]) * s[i] + b[i];
      }
    });
  });
}

// With s = (x - mean) rstd: db = sum(g), dw = sum(g s), dx = w rstd (g - db / m - s dw / m).
void batch_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                         const Tensor& rstd, const Tensor& weight, const Tensor& dx,
                         const Tensor& dweight, const Tensor& dbias) {
  visit_real(x.dtype(), "batch_norm_backward", [&]<class T>() {
    const std::int64_t c = mean.numel(), rows = x.numel() / c;
    const T* const mu = mean.data<const T>();
    const T* const r = rstd.data<const T>();
    const auto add = [&]<int kRows>(std::int64_t row, double* __restrict sum,
                                    double* __restrict products) {
      const T* const __restrict g = gradient.data<const T>() + row * c;
      const T* const __restrict v = x.data<const T>() + row * c;
      const T* const __restrict centre = mu;
      for (std::int64_t i = 0; i < c; ++i) {
        double total = 0, total_products = 0;
        for (int k = 0; k < kRows; ++k) {
          const auto gk = static_cast<double>(g[k * c + i]);
          total += gk;
          total_products += gk * static_cast<double>(v[k * c + i] - centre[i]);
        }
        sum[i] += total;
        products[i] += total_products;
      }
    };
    const std::vector<double> sums = column_sums(rows, c, add);
    // dx = scale (g - offset - (x - mean) slope)
    std::vector<T> scale = row_or<T>(weight, c, 1), offset(static_cast<std::size_t>(c)),
                   slope(static_cast<std::size_t>(c));
    const auto m = static_cast<double>(rows);
    for (std::int64_t i = 0; i < c; ++i) {
      dbias.data<T>()[i] = static_cast<T>(sums[i]);
      dweight.data<T>()[i] = static_cast<T>(sums[c + i] * r[i]);
      scale[i] *= r[i];
      offset[i] = static_cast<T>(sums[i] / m);
      slope[i] = static_cast<T>(sums[c + i] * r[i] * r[i] / m);
    }
    if (!dx.defined()) return;
    parallel_for(rows, piece_rows(c), [&](std::int64_t begin, std::int64_t end) {
      const T* const __restrict k = scale.data();
      const T* const __restrict a = offset.data();
      const T* const __restrict b = slope.data();
      const T* const __restrict centre = mu;
      for (std::int64_t row = begin; row < end; ++row) {
        const T* const __restrict g = gradient.data<const T>() + row * c;
        const T* const __restrict v = x.data<const T>() + row * c;
        T* const __restrict to = dx.data<T>() + row * c;
        for (std::int64_t i = 0; i < c; ++i) {
          to[i] = k[i] * (g[i] - a[i] - (v[i] - centre[i]) * b[i]);
        }
      }
    });
  });
}

namespace {

/// Sum over i < n of f(i), in f64 and in eight interleaved parts that stay in vector registers.
template <class F>
double row_sum(std::int64_t n, const F& f) {
  constexpr int kLanes = 8;
  double lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) lane[k] += f(i + k);
  }
  for (; i < n; ++i) lane[i % kLanes] += f(i);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

template <class F>
void for_rows(const Tensor& x, const F& f) {
  const std::int64_t columns = x.shape()[1];
  parallel_for(x.shape()[0], std::max<std::int64_t>(kGrain / columns, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) f(row, columns);
               });
}

}  // namespace

void layer_norm(const Tensor& x, double eps, const Tensor& out, const Tensor& mean,
                const Tensor& rstd) {
  visit_real(x.dtype(), "layer_norm", [&]<class T>() {
    for_rows(x, [&](std::int64_t row, std::int64_t n) {
      const T* const v = x.data<const T>() + row * n;
      T* const y = out.data<T>() + row * n;
      const double mu = row_sum(n, [&](std::int64_t i) { return static_cast<double>(v[i]); }) /
                        static_cast<double>(n);
      const double var = row_sum(n,
                                 [&](std::int64_t i) {
                                   const double d = static_cast<double>(v[i]) - mu;
                                   return d * d;
                                 }) /
                         static_cast<double>(n);
      const auto m = static_cast<T>(mu), r = static_cast<T>(1 / std::sqrt(var + eps));
      for (std::int64_t i = 0; i < n; ++i) y[i] = (v[i] - m) * r;
      mean.data<T>()[row] = m;
      rstd.data<T>()[row] = r;
    });
  });
}

// With s = (x - mean) rstd: dx = rstd (g - mean(g) - s mean(g s)).
void layer_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                         const Tensor& rstd, const Tensor& out) {
  visit_real(x.dtype(), "layer_norm_backward", [&]<class T>() {
    for_rows(x, [&](std::int64_t row, std::int64_t n) {
      const T* const v = x.data<const T>() + row * n;
      const T* const g = gradient.data<const T>() + row * n;
      T* const dx = out.data<T>() + row * n;
      const T m = mean.data<const T>()[row], r = rstd.data<const T>()[row];
      const auto size = static_cast<double>(n);
      const auto a = static_cast<T>(
          row_sum(n, [&](std::int64_t i) { return static_cast<double>(g[i]); }) / size);
      const auto b = static_cast<T>(row_sum(n,
                                            [&](std::int64_t i) {
                                              return static_cast<double>(g[i]) *
                                                     static_cast<double>((v[i] - m) * r);
                                            }) /
                                    size);
      for (std::int64_t i = 0; i < n; ++i) dx[i] = r * (g[i] - a - (v[i] - m) * r * b);
    });
  });
}

}  // namespace invar::cpu
