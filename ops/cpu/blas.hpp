#pragma once
// The only door to OpenBLAS and its LAPACK.
//
// Note [BLAS threads]: OpenBLAS brings a thread pool of its own, which would fight OpenMP's for the
// cores. So every call here runs in one thread, and the callers split their work with parallel_for.
// The switch is process-wide: a program that uses OpenBLAS beside Invar finds it single-threaded.
// (An OpenMP build of OpenBLAS uses our pool and needs no switch; inside parallel_for it is
// serial.)
//
// Matrices are row-major. LAPACK expects columns, that is the transpose: a lower triangle of ours
// is an upper one there.
#include <cblas.h>
#include <omp.h>

#include <cstdint>
#include <initializer_list>
#include <invar/core/error.hpp>
#include <limits>
#include <string_view>

extern "C" {
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
}

namespace invar::cpu::blas {

/// See Note [BLAS threads]. To be called, outside of parallel regions, before the functions below.
inline void use_one_thread() {
  static const bool done = [] {
    const int threads = omp_get_max_threads();
    openblas_set_num_threads(1);
    omp_set_num_threads(threads);  // an OpenMP build of OpenBLAS has changed it
    return true;
  }();
  static_cast<void>(done);
}

/// OpenBLAS counts in int: Error if a size does not fit. To be called before any parallel region.
inline void check_sizes(std::string_view op, std::initializer_list<std::int64_t> sizes) {
  for (std::int64_t n : sizes) {
    check(n <= std::numeric_limits<int>::max(), op,
          "expected matrices with fewer than 2^31 rows and columns, got {}", n);
  }
}

/// c = alpha a b + beta c.
inline void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const float* a,
                 int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}

/// Overwrites the lower triangle of a with its Cholesky factor. Returns 0, or the order of the
/// first leading minor that is not positive.
inline int cholesky(int n, float* a, int lda) {
  int info = 0;
  spotrf_("U", &n, a, &lda, &info);
  return info;
}
inline int cholesky(int n, double* a, int lda) {
  int info = 0;
  dpotrf_("U", &n, a, &lda, &info);
  return info;
}

/// Overwrites b[n, columns] with the solution x of op(a) x = b, op(a) = a or its transpose.
/// `uplo` says which triangle of a, as stored, is read.
inline void solve_triangular(CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int columns,
                             const float* a, int lda, float* b, int ldb) {
  cblas_strsm(CblasRowMajor, CblasLeft, uplo, trans, CblasNonUnit, n, columns, 1.0f, a, lda, b,
              ldb);
}
inline void solve_triangular(CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int columns,
                             const double* a, int lda, double* b, int ldb) {
  cblas_dtrsm(CblasRowMajor, CblasLeft, uplo, trans, CblasNonUnit, n, columns, 1.0, a, lda, b, ldb);
}

}  // namespace invar::cpu::blas
