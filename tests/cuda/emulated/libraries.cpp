// cuBLAS, cuBLASLt and cuSOLVER for the emulated GPU, as far as ops/cuda calls them: plain loops
// and LAPACK over what the callers say of their matrices. They show that the callers say the right
// thing.
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cusolverDn.h>

#include <algorithm>
#include <cstring>
#include <invar/core/bfloat16.hpp>
#include <invar/core/error.hpp>
#include <invar/ops/cpu/blas.hpp>
#include <vector>

#include "device.hpp"

using invar::BFloat16;
using invar::internal_check;
using invar::cuda::OnDevice;

struct cublasLtContext {};
struct cublasContext {};
struct cusolverDnContext {};
struct cusolverDnParams {};

namespace {

struct Layout {
  cudaDataType_t type;
  std::uint64_t rows, columns;
  std::int64_t leading;
  std::int32_t count = 1;
  std::int64_t stride = 0;
};

struct Product {
  cublasComputeType_t compute;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
};

double read(const void* data, cudaDataType_t type, std::int64_t i) {
  switch (type) {
    case CUDA_R_32F:
      return static_cast<const float*>(data)[i];
    case CUDA_R_64F:
      return static_cast<const double*>(data)[i];
    case CUDA_R_16BF:
      return static_cast<double>(static_cast<float>(static_cast<const BFloat16*>(data)[i]));
    default:
      throw invar::InternalError("unknown type");
  }
}

void write(void* data, cudaDataType_t type, std::int64_t i, double value) {
  switch (type) {
    case CUDA_R_32F:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      return;
    case CUDA_R_64F:
      static_cast<double*>(data)[i] = value;
      return;
    default:
      static_cast<BFloat16*>(data)[i] = BFloat16(value);
  }
}

template <class T>
Layout& layout(T* made) {
  return *reinterpret_cast<Layout*>(made);
}
template <class T>
Product& product(T* made) {
  return *reinterpret_cast<Product*>(made);
}

template <class T, class Solve>
cublasStatus_t trsm(Solve solve, cublasSideMode_t side, cublasFillMode_t uplo, cublasOperation_t op,
                    std::int64_t m, std::int64_t n, const T* alpha, const T* a, std::int64_t lda,
                    T* b, std::int64_t ldb) {
  const OnDevice now;
  solve(CblasColMajor, side == CUBLAS_SIDE_RIGHT ? CblasRight : CblasLeft,
        uplo == CUBLAS_FILL_MODE_UPPER ? CblasUpper : CblasLower,
        op == CUBLAS_OP_T ? CblasTrans : CblasNoTrans, CblasNonUnit, static_cast<int>(m),
        static_cast<int>(n), *alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb));
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusString(cublasStatus_t) { return "emulated"; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t) {
  *desc = reinterpret_cast<cublasLtMatmulDesc_t>(new Product{compute});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete &product(desc);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void* value, std::size_t bytes) {
  Product& p = product(desc);
  void* to = nullptr;
  std::size_t expected = 4;
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      to = &p.a;
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      to = &p.b;
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      to = &p.epilogue;
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      to = &p.bias_type;
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      to = &p.bias;
      expected = 8;
      break;
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (bytes != expected) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading) {
  if (leading < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *made = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t made) {
  delete &layout(made);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t made,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void* value, std::size_t bytes) {
  if (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && bytes == 4) {
    std::memcpy(&layout(made).count, value, bytes);
  } else if (name == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && bytes == 8) {
    std::memcpy(&layout(made).stride, value, bytes);
  } else {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = reinterpret_cast<cublasLtMatmulPreference_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t made) {
  delete reinterpret_cast<int*>(made);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, std::size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

// An epilogue is refused where the result has an odd number of rows, so that the callers' other way
// to add a bias runs, too.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  const Product& p = product(desc);
  if (p.epilogue == CUBLASLT_EPILOGUE_BIAS && (!p.bias || layout(out).rows % 2 == 1)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].workspaceSize = 100;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_made, const void* b,
                              cublasLtMatrixLayout_t b_made, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_made,
                              const cublasLtMatmulAlgo_t*, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t) {
  const Product p = product(desc);
  const Layout la = layout(a_made), lb = layout(b_made), ld = layout(d_made);
  const bool f64 = p.compute == CUBLAS_COMPUTE_64F;
  const double one = f64 ? *static_cast<const double*>(alpha) : *static_cast<const float*>(alpha);
  const double kept = f64 ? *static_cast<const double*>(beta) : *static_cast<const float*>(beta);
  internal_check(one == 1 && c == d, "cublasLt", "unexpected factor or c");
  internal_check(reinterpret_cast<std::uintptr_t>(workspace) % 256 == 0, "cublasLt", "workspace");
  const bool ta = p.a == CUBLAS_OP_T, tb = p.b == CUBLAS_OP_T;
  const auto m = static_cast<std::int64_t>(ld.rows), n = static_cast<std::int64_t>(ld.columns);
  const auto k = static_cast<std::int64_t>(ta ? la.rows : la.columns);
  internal_check((ta ? la.columns : la.rows) == ld.rows &&
                     (tb ? lb.rows : lb.columns) == ld.columns &&
                     static_cast<std::int64_t>(tb ? lb.columns : lb.rows) == k &&
                     la.count == ld.count && lb.count == ld.count,
                 "cublasLt", "shapes do not fit");
  invar::cuda::run_on_device([=] {
    std::memset(workspace, 0x7f, workspace_bytes);
    for (std::int64_t batch = 0; batch < ld.count; ++batch) {
      for (std::int64_t j = 0; j < n; ++j) {
        for (std::int64_t i = 0; i < m; ++i) {
          double sum = 0;
          for (std::int64_t t = 0; t < k; ++t) {
            sum += read(a, la.type,
                        batch * la.stride + (ta ? i * la.leading + t : t * la.leading + i)) *
                   read(b, lb.type,
                        batch * lb.stride + (tb ? t * lb.leading + j : j * lb.leading + t));
          }
          const std::int64_t at = batch * ld.stride + j * ld.leading + i;
          if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += read(p.bias, p.bias_type, i);
          if (kept != 0) sum += kept * read(d, ld.type, at);
          write(d, ld.type, at, sum);
        }
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

// --- cuBLAS ------------------------------------------------------------------------------------

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasStrsm_v2_64(cublasHandle_t, cublasSideMode_t side, cublasFillMode_t uplo,
                                 cublasOperation_t op, cublasDiagType_t, std::int64_t m,
                                 std::int64_t n, const float* alpha, const float* a,
                                 std::int64_t lda, float* b, std::int64_t ldb) {
  return trsm(cblas_strsm, side, uplo, op, m, n, alpha, a, lda, b, ldb);
}
cublasStatus_t cublasDtrsm_v2_64(cublasHandle_t, cublasSideMode_t side, cublasFillMode_t uplo,
                                 cublasOperation_t op, cublasDiagType_t, std::int64_t m,
                                 std::int64_t n, const double* alpha, const double* a,
                                 std::int64_t lda, double* b, std::int64_t ldb) {
  return trsm(cblas_dtrsm, side, uplo, op, m, n, alpha, a, lda, b, ldb);
}

// --- cuSOLVER ----------------------------------------------------------------------------------

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  *handle = new cusolverDnContext;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t, cudaStream_t) {
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t* params) {
  *params = new cusolverDnParams;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
  delete params;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t, cusolverDnParams_t,
                                             cublasFillMode_t, std::int64_t, cudaDataType,
                                             const void*, std::int64_t, cudaDataType,
                                             std::size_t* on_gpu, std::size_t* on_host) {
  *on_gpu = *on_host = 100;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t uplo,
                                  std::int64_t n, cudaDataType type, void* a, std::int64_t lda,
                                  cudaDataType, void*, std::size_t, void*, std::size_t, int* info) {
  const OnDevice now;
  const char* const triangle = uplo == CUBLAS_FILL_MODE_UPPER ? "U" : "L";
  const int size = static_cast<int>(n), leading = static_cast<int>(lda);
  if (type == CUDA_R_64F) {
    dpotrf_(triangle, &size, static_cast<double*>(a), &leading, info);
  } else {
    spotrf_(triangle, &size, static_cast<float*>(a), &leading, info);
  }
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t,
                                             cusolverEigMode_t, cublasFillMode_t, std::int64_t,
                                             cudaDataType, const void*, std::int64_t, cudaDataType,
                                             const void*, cudaDataType, std::size_t* on_gpu,
                                             std::size_t* on_host) {
  *on_gpu = *on_host = 100;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnXsyevd(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t mode,
                                  cublasFillMode_t uplo, std::int64_t n, cudaDataType type, void* a,
                                  std::int64_t lda, cudaDataType, void* w, cudaDataType, void*,
                                  std::size_t, void*, std::size_t, int* info) {
  const OnDevice now;
  internal_check(uplo == CUBLAS_FILL_MODE_UPPER && lda == n, "cusolver", "unexpected layout");
  const bool vectors = mode == CUSOLVER_EIG_MODE_VECTOR;
  *info = type == CUDA_R_64F
              ? invar::cpu::blas::eigh(vectors, static_cast<int>(n), static_cast<double*>(a),
                                       static_cast<double*>(w))
              : invar::cpu::blas::eigh(vectors, static_cast<int>(n), static_cast<float*>(a),
                                       static_cast<float*>(w));
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXgesvd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, signed char,
                                             signed char, std::int64_t, std::int64_t, cudaDataType,
                                             const void*, std::int64_t, cudaDataType, const void*,
                                             cudaDataType, const void*, std::int64_t, cudaDataType,
                                             const void*, std::int64_t, cudaDataType,
                                             std::size_t* on_gpu, std::size_t* on_host) {
  *on_gpu = *on_host = 100;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnXgesvd(cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char,
                                  std::int64_t m, std::int64_t n, cudaDataType type, void* a,
                                  std::int64_t lda, cudaDataType, void* s, cudaDataType, void*,
                                  std::int64_t, cudaDataType, void*, std::int64_t, cudaDataType,
                                  void*, std::size_t, void*, std::size_t, int* info) {
  const OnDevice now;
  internal_check(m >= n && lda == m, "cusolver", "unexpected layout");
  // What is dense by columns here is its transpose by rows.
  *info = type == CUDA_R_64F
              ? invar::cpu::blas::svdvals(static_cast<int>(n), static_cast<int>(m),
                                          static_cast<double*>(a), static_cast<double*>(s))
              : invar::cpu::blas::svdvals(static_cast<int>(n), static_cast<int>(m),
                                          static_cast<float*>(a), static_cast<float*>(s));
  return CUSOLVER_STATUS_SUCCESS;
}

}  // extern "C"
