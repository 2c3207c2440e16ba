#pragma once
// The only door to OpenBLAS and its LAPACK.
//
// Note [BLAS threads]: OpenBLAS brings a thread pool of its own, which would fight OpenMP's for the
// cores. So every call here runs in one thread, and the callers split their work with parallel_for.
// The switch is process-wide: a program that uses OpenBLAS beside Invar finds it single-threaded.
// (An OpenMP build of OpenBLAS uses our pool and needs no switch; inside parallel_for it is
// serial.)
//
// A build of OpenBLAS without threads gives two of ours the same buffer, and wrong numbers: its
// calls take turns.
//
// Note [Processors newer than OpenBLAS]: to an x86 processor that it has never heard of OpenBLAS
// gives the kernels of a Prescott (2004), which have neither AVX nor fused multiply-add and need
// two to six times as long. The environment variable OPENBLAS_CORETYPE overrides it, but is read
// before main. So products go to oneDNN then (matmul.cpp), and programs tell people what to set
// for factorisations (openblas_advice).
//
// Matrices are row-major. LAPACK expects columns, that is the transpose: a lower triangle of ours
// is an upper one there.
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <invar/core/error.hpp>
#include <limits>
#include <mutex>
#include <string_view>
#include <vector>

extern "C" {
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);
void ssyevd_(const char* jobz, const char* uplo, const int* n, float* a, const int* lda, float* w,
             float* work, const int* lwork, int* iwork, const int* liwork, int* info);
void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w,
             double* work, const int* lwork, int* iwork, const int* liwork, int* info);
void sgesdd_(const char* jobz, const int* m, const int* n, float* a, const int* lda, float* s,
             float* u, const int* ldu, float* vt, const int* ldvt, float* work, const int* lwork,
             int* iwork, int* info);
void dgesdd_(const char* jobz, const int* m, const int* n, double* a, const int* lda, double* s,
             double* u, const int* ldu, double* vt, const int* ldvt, double* work, const int* lwork,
             int* iwork, int* info);
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

/// To be held during a call.
inline std::unique_lock<std::mutex> turn() {
  static std::mutex mutex;
  static const bool safe = openblas_get_parallel() != OPENBLAS_SEQUENTIAL;
  return safe ? std::unique_lock<std::mutex>() : std::unique_lock(mutex);
}

/// False where it takes the processor for a much older one: Note [Processors newer than OpenBLAS].
inline bool knows_processor() {
  static const bool knows =
      std::string_view(openblas_get_corename()) != "Prescott" || !__builtin_cpu_supports("avx2");
  return knows;
}

/// OpenBLAS counts in int: Error if a size does not fit. To be called before any parallel region.
inline void check_sizes(std::string_view op, std::initializer_list<std::int64_t> sizes) {
  for (std::int64_t n : sizes) {
    check(n <= std::numeric_limits<int>::max(), op,
          "expected matrices with fewer than 2^31 rows and columns, got {}", n);
  }
}

/// c = a b + beta c.
inline void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const float* a,
                 int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  const auto lock = turn();
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}

/// Overwrites the lower triangle of a with its Cholesky factor. Returns 0, or the order of the
/// first leading minor that is not positive.
inline int cholesky(int n, float* a, int lda) {
  const auto lock = turn();
  int info = 0;
  spotrf_("U", &n, a, &lda, &info);
  return info;
}
inline int cholesky(int n, double* a, int lda) {
  const auto lock = turn();
  int info = 0;
  dpotrf_("U", &n, a, &lda, &info);
  return info;
}

/// Overwrites b[n, columns] with the solution x of op(a) x = b, op(a) = a or its transpose.
/// `uplo` says which triangle of a, as stored, is read.
inline void solve_triangular(CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int columns,
                             const float* a, int lda, float* b, int ldb) {
  const auto lock = turn();
  cblas_strsm(CblasRowMajor, CblasLeft, uplo, trans, CblasNonUnit, n, columns, 1.0f, a, lda, b,
              ldb);
}
inline void solve_triangular(CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int columns,
                             const double* a, int lda, double* b, int ldb) {
  const auto lock = turn();
  cblas_dtrsm(CblasRowMajor, CblasLeft, uplo, trans, CblasNonUnit, n, columns, 1.0, a, lda, b, ldb);
}

namespace detail {

/// The size of a workspace, which LAPACK tells as a number of type T: it may have been rounded
/// down.
template <class T>
int workspace_size(T told) {
  const double size = std::nextafter(told, std::numeric_limits<T>::infinity());
  return static_cast<int>(std::min<double>(size, std::numeric_limits<int>::max()));
}

template <class T, class Syevd>
int eigh(Syevd* syevd, bool vectors, int n, T* a, T* values) {
  const auto lock = turn();
  const char* const job = vectors ? "V" : "N";
  int info = 0, least_integers = 0, ask = -1;
  T least = 0;
  syevd(job, "U", &n, a, &n, values, &least, &ask, &least_integers, &ask, &info);
  const int size = workspace_size(least), integers_size = least_integers;
  std::vector<T> work(static_cast<std::size_t>(size));
  std::vector<int> integers(static_cast<std::size_t>(integers_size));
  syevd(job, "U", &n, a, &n, values, work.data(), &size, integers.data(), &integers_size, &info);
  return info;
}

template <class T, class Gesdd>
int svdvals(Gesdd* gesdd, int rows, int columns, T* a, T* values) {
  const auto lock = turn();
  // Row-major: LAPACK sees the transpose, which has the same singular values.
  const int one = 1, ask = -1;
  int info = 0;
  T least = 0;
  std::vector<int> integers(8 * static_cast<std::size_t>(std::min(rows, columns)));
  gesdd("N", &columns, &rows, a, &columns, values, nullptr, &one, nullptr, &one, &least, &ask,
        integers.data(), &info);
  const int size = workspace_size(least);
  std::vector<T> work(static_cast<std::size_t>(size));
  gesdd("N", &columns, &rows, a, &columns, values, nullptr, &one, nullptr, &one, work.data(), &size,
        integers.data(), &info);
  return info;
}

}  // namespace detail

/// Ascending eigenvalues of the symmetric a (n x n, its lower triangle is read), which is
/// overwritten: by the eigenvectors as its rows if they are wanted. Returns 0, or LAPACK's
/// complaint: positive if it did not converge, negative for the argument that is wrong.
inline int eigh(bool vectors, int n, float* a, float* values) {
  return detail::eigh(ssyevd_, vectors, n, a, values);
}
inline int eigh(bool vectors, int n, double* a, double* values) {
  return detail::eigh(dsyevd_, vectors, n, a, values);
}

/// Descending singular values of the dense a (rows x columns), which is overwritten.
inline int svdvals(int rows, int columns, float* a, float* values) {
  return detail::svdvals(sgesdd_, rows, columns, a, values);
}
inline int svdvals(int rows, int columns, double* a, double* values) {
  return detail::svdvals(dgesdd_, rows, columns, a, values);
}

}  // namespace invar::cpu::blas
