#include <cmath>
#include <invar/ops/cpu/blas.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <vector>

namespace invar::cpu {

void cholesky(const Tensor& x, const Tensor& out) {
  const std::int64_t n = x.size(-1);
  if (x.numel() == 0) return;
  blas::check_sizes("cholesky", {n});
  blas::use_one_thread();
  const std::int64_t count = x.numel() / (n * n);
  std::vector<int> failed(static_cast<std::size_t>(count), 0);
  visit_real(x.dtype(), "cholesky", [&]<class T>() {
    const std::vector<std::int64_t> offsets = matrix_offsets(x);
    const std::int64_t row_stride = x.strides()[x.dim() - 2],
                       column_stride = x.strides()[x.dim() - 1];
    const auto factor = [&](std::size_t matrix) {
      const T* const from = x.data<T>() + offsets[matrix];
      T* const l = out.data<T>() + static_cast<std::int64_t>(matrix) * n * n;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) {
          l[i * n + j] = from[i * row_stride + j * column_stride];
        }
        for (std::int64_t j = i + 1; j < n; ++j) l[i * n + j] = T(0);
      }
      int minor = blas::cholesky(static_cast<int>(n), l, static_cast<int>(n));
      // NaN and infinity pass OpenBLAS's own test.
      for (std::int64_t i = 0; i < n && minor == 0; ++i) {
        if (!(l[i * n + i] > T(0) && std::isfinite(l[i * n + i]))) {
          minor = static_cast<int>(i + 1);
        }
      }
      failed[matrix] = minor;
    };
    parallel_for(count, std::max<std::int64_t>(1, kGrain / (n * n)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (; begin < end; ++begin) factor(static_cast<std::size_t>(begin));
                 });
  });
  for (std::size_t i = 0; i < failed.size(); ++i) {
    check(failed[i] == 0, "cholesky",
          "expected positive definite matrices, got one{} whose leading minor of order {} is not "
          "positive: is it symmetric and finite? adding a small multiple of the identity may help",
          count > 1 ? fmt::format(" (number {} of the batch)", i) : "", failed[i]);
  }
}

void solve_triangular(const Tensor& a, bool upper, const Tensor& x) {
  const std::int64_t n = x.size(-2), columns = x.size(-1);
  if (x.numel() == 0) return;
  const std::int64_t row_stride = a.strides()[a.dim() - 2],
                     column_stride = a.strides()[a.dim() - 1];
  blas::check_sizes("solve_triangular", {n, columns, row_stride, column_stride});
  blas::use_one_thread();
  visit_real(x.dtype(), "solve_triangular", [&]<class T>() {
    const std::vector<std::int64_t> offsets = matrix_offsets(a);
    const bool transposed = n > 1 && column_stride != 1;
    const auto stride = static_cast<int>(n == 1 ? 1 : transposed ? column_stride : row_stride);
    const CBLAS_UPLO uplo = upper != transposed ? CblasUpper : CblasLower;
    // The columns of x are independent: blocks of them run side by side.
    constexpr std::int64_t kColumns = 128;
    const std::int64_t blocks = (columns + kColumns - 1) / kColumns;
    const std::int64_t count = x.numel() / (n * columns);
    const double work = static_cast<double>(n) * static_cast<double>(n) *
                        static_cast<double>(std::min(columns, kColumns));
    parallel_for(count * blocks, std::max<std::int64_t>(1, static_cast<std::int64_t>(1e5 / work)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t piece = begin; piece < end; ++piece) {
                     const std::int64_t matrix = piece / blocks, first = piece % blocks * kColumns;
                     blas::solve_triangular(
                         uplo, transposed ? CblasTrans : CblasNoTrans, static_cast<int>(n),
                         static_cast<int>(std::min(kColumns, columns - first)),
                         a.data<T>() + offsets[static_cast<std::size_t>(matrix)], stride,
                         x.data<T>() + matrix * n * columns + first, static_cast<int>(columns));
                   }
                 });
  });
}

void eigh(const Tensor& x, const Tensor& values, const Tensor& vectors) {
  const std::int64_t n = x.size(-1);
  if (x.numel() == 0) return;
  blas::check_sizes("eigh", {n});
  blas::use_one_thread();
  const std::int64_t count = x.numel() / (n * n);
  std::vector<int> failed(static_cast<std::size_t>(count), 0);
  visit_real(x.dtype(), "eigh", [&]<class T>() {
    const std::vector<std::int64_t> offsets = matrix_offsets(x);
    const std::int64_t row_stride = x.strides()[x.dim() - 2],
                       column_stride = x.strides()[x.dim() - 1];
    parallel_for(count, std::max<std::int64_t>(1, kGrain / (n * n)),
                 [&](std::int64_t begin, std::int64_t end) {
                   std::vector<T> work(static_cast<std::size_t>(n * n));
                   for (; begin < end; ++begin) {
                     const auto matrix = static_cast<std::size_t>(begin);
                     const T* const from = x.data<T>() + offsets[matrix];
                     for (std::int64_t i = 0; i < n; ++i) {
                       for (std::int64_t j = 0; j <= i; ++j) {
                         work[static_cast<std::size_t>(i * n + j)] =
                             from[i * row_stride + j * column_stride];
                       }
                     }
                     failed[matrix] = blas::eigh(vectors.defined(), static_cast<int>(n),
                                                 work.data(), values.data<T>() + begin * n);
                     if (!vectors.defined()) continue;
                     T* const to = vectors.data<T>() + begin * n * n;
                     for (std::int64_t i = 0; i < n; ++i) {
                       for (std::int64_t j = 0; j < n; ++j) {
                         to[j * n + i] = work[static_cast<std::size_t>(i * n + j)];
                       }
                     }
                   }
                 });
  });
  for (const int info : failed) {
    internal_check(info >= 0, "eigh", "LAPACK refuses argument {}", -info);
    check(info == 0, "eigh", "expected eigenvalues to converge, got LAPACK's code {}", info);
  }
}

void svdvals(const Tensor& x, const Tensor& values) {
  const std::int64_t rows = x.size(-2), columns = x.size(-1), least = std::min(rows, columns);
  if (x.numel() == 0) return;
  blas::check_sizes("svdvals", {rows, columns});
  blas::use_one_thread();
  const std::int64_t count = x.numel() / (rows * columns);
  std::vector<int> failed(static_cast<std::size_t>(count), 0);
  visit_real(x.dtype(), "svdvals", [&]<class T>() {
    const std::vector<std::int64_t> offsets = matrix_offsets(x);
    const std::int64_t row_stride = x.strides()[x.dim() - 2],
                       column_stride = x.strides()[x.dim() - 1];
    parallel_for(count, std::max<std::int64_t>(1, kGrain / (rows * columns)),
                 [&](std::int64_t begin, std::int64_t end) {
                   std::vector<T> work(static_cast<std::size_t>(rows * columns));
                   for (; begin < end; ++begin) {
                     const auto matrix = static_cast<std::size_t>(begin);
                     const T* const from = x.data<T>() + offsets[matrix];
                     for (std::int64_t i = 0; i < rows; ++i) {
                       for (std::int64_t j = 0; j < columns; ++j) {
                         work[static_cast<std::size_t>(i * columns + j)] =
                             from[i * row_stride + j * column_stride];
                       }
                     }
                     failed[matrix] =
                         blas::svdvals(static_cast<int>(rows), static_cast<int>(columns),
                                       work.data(), values.data<T>() + begin * least);
                   }
                 });
  });
  for (const int info : failed) {
    internal_check(info >= 0, "svdvals", "LAPACK refuses argument {}", -info);
    check(info == 0, "svdvals", "expected singular values to converge, got LAPACK's code {}", info);
  }
}

}  // namespace invar::cpu
