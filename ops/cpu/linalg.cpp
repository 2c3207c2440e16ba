#include <cmath>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/blas.hpp>
#include <invar/ops/cpu/gemm.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <vector>

namespace invar::cpu {

namespace {

/// `info` of f(matrix, number) for every matrix of the batch x [.., rows, columns].
template <class F>
std::vector<int> for_each_matrix(const char* op, const Tensor& x, const F& f) {
  const std::int64_t rows = x.size(-2), columns = x.size(-1);
  if (x.numel() == 0) return {};
  blas::check_sizes(op, {rows, columns});
  blas::use_one_thread();
  const std::int64_t count = x.numel() / (rows * columns);
  const std::vector<std::int64_t> offsets = matrix_offsets(x);
  std::vector<int> infos(static_cast<std::size_t>(count));
  visit_real(x.dtype(), op, [&]<class T>() {
    parallel_for(count, std::max<std::int64_t>(1, kGrain / (rows * columns)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const auto number = static_cast<std::size_t>(i);
                     const MatrixView<T> matrix{x.data<T>() + offsets[number],
                                                x.strides()[x.dim() - 2], x.strides()[x.dim() - 1]};
                     infos[number] = f(matrix, i);
                   }
                 });
  });
  return infos;
}

template <class T>
std::vector<T> dense(MatrixView<T> matrix, std::int64_t rows, std::int64_t columns) {
  std::vector<T> copy(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      copy[static_cast<std::size_t>(i * columns + j)] = *matrix.at(i, j).data;
    }
  }
  return copy;
}

void check_converged(const char* op, const char* what, const std::vector<int>& infos) {
  for (const int info : infos) {
    internal_check(info >= 0, op, "LAPACK refuses argument {}", -info);
    check(info == 0, op, "expected {} to converge, got LAPACK's code {}", what, info);
  }
}

}  // namespace

void cholesky(const Tensor& x, const Tensor& out) {
  const std::int64_t n = x.size(-1);
  const auto factor = [&]<class T>(MatrixView<T> matrix, std::int64_t number) {
    T* const l = out.data<T>() + number * n * n;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) l[i * n + j] = j <= i ? *matrix.at(i, j).data : T(0);
    }
    const int minor = blas::cholesky(static_cast<int>(n), l, static_cast<int>(n));
    // NaN and infinity pass OpenBLAS's own test.
    for (std::int64_t i = 0; i < n && minor == 0; ++i) {
      const T pivot = l[i * n + i];
      if (!(pivot > T(0) && std::isfinite(pivot))) return static_cast<int>(i + 1);
    }
    return minor;
  };
  const std::vector<int> failed = for_each_matrix("cholesky", x, factor);
  for (std::size_t i = 0; i < failed.size(); ++i) {
    check(failed[i] == 0, "cholesky",
          "expected positive definite matrices, got one{} whose leading minor of order {} is not "
          "positive: is it symmetric and finite? adding a small multiple of the identity may help",
          failed.size() > 1 ? fmt::format(" (number {} of the batch)", i) : "", failed[i]);
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
    const std::int64_t blocks = ceil_div(columns, kColumns);
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
  const auto decompose = [&]<class T>(MatrixView<T> matrix, std::int64_t number) {
    std::vector<T> work = dense(matrix, n, n);  // LAPACK reads one triangle of it
    const int info = blas::eigh(vectors.defined(), static_cast<int>(n), work.data(),
                                values.data<T>() + number * n);
    if (!vectors.defined()) return info;
    T* const to = vectors.data<T>() + number * n * n;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j)
        to[j * n + i] = work[static_cast<std::size_t>(i * n + j)];
    }
    return info;
  };
  check_converged("eigh", "eigenvalues", for_each_matrix("eigh", x, decompose));
}

void svdvals(const Tensor& x, const Tensor& values) {
  const std::int64_t rows = x.size(-2), columns = x.size(-1), least = std::min(rows, columns);
  const auto decompose = [&]<class T>(MatrixView<T> matrix, std::int64_t number) {
    std::vector<T> work = dense(matrix, rows, columns);
    return blas::svdvals(static_cast<int>(rows), static_cast<int>(columns), work.data(),
                         values.data<T>() + number * least);
  };
  check_converged("svdvals", "singular values", for_each_matrix("svdvals", x, decompose));
}

}  // namespace invar::cpu
