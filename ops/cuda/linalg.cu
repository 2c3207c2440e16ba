// Factorisations and triangular systems by cuSOLVER and cuBLAS, one matrix of a batch after the
// other. Both count down the columns: what they see of a dense matrix of ours is its transpose, so
// our lower triangle is an upper one there.
#include <cublas_v2.h>
#include <cusolverDn.h>

#include <invar/core/cuda/runtime.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/library.hpp>
#include <optional>
#include <string>
#include <vector>

namespace invar::cuda {
namespace {

void check_cublas(cublasStatus_t status, const char* op) {
  internal_check(status == CUBLAS_STATUS_SUCCESS, op, "cuBLAS: {}", cublasGetStatusString(status));
}

void check_cusolver(cusolverStatus_t status, const char* op) {
  internal_check(status == CUSOLVER_STATUS_SUCCESS, op, "cuSOLVER: status {}",
                 static_cast<int>(status));
}

Handles<cublasHandle_t>& cublas() {
  static auto* const made = new Handles<cublasHandle_t>(
      [] {
        cublasHandle_t handle = nullptr;
        check_cublas(cublasCreate(&handle), "cublas");
        return handle;
      },
      [](cublasHandle_t handle, CUstream_st* stream) {
        check_cublas(cublasSetStream(handle, stream), "cublas");
      });
  return *made;
}

Handles<cusolverDnHandle_t>& cusolver() {
  static auto* const made = new Handles<cusolverDnHandle_t>(
      [] {
        cusolverDnHandle_t handle = nullptr;
        check_cusolver(cusolverDnCreate(&handle), "cusolver");
        return handle;
      },
      [](cusolverDnHandle_t handle, CUstream_st* stream) {
        check_cusolver(cusolverDnSetStream(handle, stream), "cusolver");
      });
  return *made;
}

template <class T>
constexpr cudaDataType_t kDataType = sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;

/// x with the last two dimensions exchanged: a view.
Tensor transposed(const Tensor& x) {
  Dims shape = x.shape(), strides = x.strides();
  std::swap(shape[x.dim() - 2], shape[x.dim() - 1]);
  std::swap(strides[x.dim() - 2], strides[x.dim() - 1]);
  return alias(x, shape, strides, x.offset());
}

/// What cuSOLVER says of each matrix: i32 on the GPU, 0 if all is well.
Tensor infos(std::int64_t count, Device gpu) {
  const Tensor out = empty({count}, {.dtype = DType::i32, .device = gpu});
  fill(0, out);
  return out;
}

std::vector<std::int32_t> to_host(const Tensor& infos) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(infos.numel()));
  copy_bytes(out.data(), kCpu, infos.raw_data(), infos.device(), out.size() * sizeof(out[0]));
  return out;
}

/// One call of cuSOLVER: its parameters, and scratch memory on the GPU and on the CPU, which lives
/// until the GPU is done (to_host).
class Call {
 public:
  explicit Call(const char* op) : op_(op) {
    check_not_recording("a factorisation");  // cuSOLVER may wait for the GPU
    check_cusolver(cusolverDnCreateParams(&params_), op);
  }
  ~Call() { cusolverDnDestroyParams(params_); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  cusolverDnParams_t params() const { return params_; }
  void check(cusolverStatus_t status) const { check_cusolver(status, op_); }
  /// Matrices share the GPU's memory, where calls follow one another; the CPU's is each one's own.
  void allocate(std::size_t on_gpu, std::size_t on_host, std::int64_t matrices, Device gpu) {
    gpu_.emplace(on_gpu, gpu);
    host_bytes_ = on_host;
    host_.resize(on_host * static_cast<std::size_t>(matrices));
  }
  void* gpu() const { return gpu_->data(); }
  std::size_t gpu_bytes() const { return gpu_->bytes(); }
  void* host(std::int64_t matrix) {
    return host_.data() + host_bytes_ * static_cast<std::size_t>(matrix);
  }
  std::size_t host_bytes() const { return host_bytes_; }

 private:
  const char* op_;
  cusolverDnParams_t params_ = nullptr;
  std::optional<Workspace> gpu_;
  std::vector<char> host_;
  std::size_t host_bytes_ = 0;
};

/// Zeros above the diagonal; and info[matrix], if it is 0, becomes the order of the first leading
/// minor whose factor is no positive number: NaN and infinity pass cuSOLVER's own test.
template <class T>
struct FinishCholesky {
  T* l;
  std::int64_t n;
  int* info;

  INVAR_HD void operator()(std::int64_t at) const {
    const std::int64_t row = at / n % n, column = at % n;
    if (column > row) l[at] = T(0);
    if (row > 0 || column > 0) return;
    int& minor = info[at / (n * n)];
    for (std::int64_t i = 0; i < n && minor == 0; ++i) {
      const T pivot = l[at + i * n + i];
      const bool finite = pivot - pivot == T(0);
      if (!(pivot > T(0) && finite)) minor = static_cast<int>(i + 1);
    }
  }
};

}  // namespace

void cholesky(const Tensor& x, const Tensor& out) {
  if (x.numel() == 0) return;
  const std::int64_t n = x.size(-1), count = x.numel() / (n * n);
  const Device gpu = x.device();
  const Tensor info = infos(count, gpu);
  copy(x, out);
  Call call("cholesky");
  visit_real(x.dtype(), "cholesky", [&]<class T>() {
    const Lease<cusolverDnHandle_t> lease = cusolver().lease(gpu);
    std::size_t on_gpu = 0, on_host = 0;
    call.check(cusolverDnXpotrf_bufferSize(lease.handle, call.params(), CUBLAS_FILL_MODE_UPPER, n,
                                           kDataType<T>, out.raw_data(), n, kDataType<T>, &on_gpu,
                                           &on_host));
    call.allocate(on_gpu, on_host, count, gpu);
    for (std::int64_t i = 0; i < count; ++i) {
      call.check(cusolverDnXpotrf(lease.handle, call.params(), CUBLAS_FILL_MODE_UPPER, n,
                                  kDataType<T>, out.data<T>() + i * n * n, n, kDataType<T>,
                                  call.gpu(), call.gpu_bytes(), call.host(i), call.host_bytes(),
                                  info.data<std::int32_t>() + i));
    }
    for_each("cholesky", out, out.numel(),
             FinishCholesky<T>{out.data<T>(), n, info.data<std::int32_t>()});
  });
  const std::vector<std::int32_t> failed = to_host(info);
  for (std::size_t i = 0; i < failed.size(); ++i) {
    check(failed[i] == 0, "cholesky",
          "expected positive definite matrices, got one{} whose leading minor of order {} is not "
          "positive: is it symmetric and finite? adding a small multiple of the identity may help",
          count > 1 ? fmt::format(" (number {} of the batch)", i) : "", failed[i]);
  }
}

namespace {

void trsm(cublasHandle_t handle, cublasFillMode_t triangle, cublasOperation_t op,
          std::int64_t columns, std::int64_t n, const float* a, std::int64_t stride, float* x) {
  const float one = 1;
  check_cublas(cublasStrsm_64(handle, CUBLAS_SIDE_RIGHT, triangle, op, CUBLAS_DIAG_NON_UNIT,
                              columns, n, &one, a, stride, x, columns),
               "solve_triangular");
}
void trsm(cublasHandle_t handle, cublasFillMode_t triangle, cublasOperation_t op,
          std::int64_t columns, std::int64_t n, const double* a, std::int64_t stride, double* x) {
  const double one = 1;
  check_cublas(cublasDtrsm_64(handle, CUBLAS_SIDE_RIGHT, triangle, op, CUBLAS_DIAG_NON_UNIT,
                              columns, n, &one, a, stride, x, columns),
               "solve_triangular");
}

}  // namespace

// a x = b is x^T a^T = b^T: cuBLAS sees our dense x as x^T, and a as a^T unless its columns are
// dense.
void solve_triangular(const Tensor& a, bool upper, const Tensor& x) {
  if (x.numel() == 0) return;
  const std::int64_t n = x.size(-2), columns = x.size(-1), count = x.numel() / (n * columns);
  const std::int64_t row_stride = a.strides()[a.dim() - 2],
                     column_stride = a.strides()[a.dim() - 1];
  const bool by_columns = n > 1 && column_stride != 1;
  const std::int64_t stride = n == 1 ? 1 : by_columns ? column_stride : row_stride;
  const Dims batch = a.shape().first(a.dim() - 2);
  const LoopNest<1> nest(batch, {a.strides().first(a.dim() - 2)});
  visit_real(x.dtype(), "solve_triangular", [&]<class T>() {
    const Lease<cublasHandle_t> lease = cublas().lease(x.device());
    T* solution = x.data<T>();
    nest.run(0, count, [&](const std::array<std::int64_t, 1>& offsets, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i, solution += n * columns) {
        trsm(lease.handle, upper == by_columns ? CUBLAS_FILL_MODE_UPPER : CUBLAS_FILL_MODE_LOWER,
             by_columns ? CUBLAS_OP_T : CUBLAS_OP_N, columns, n,
             a.data<const T>() + offsets[0] + i * nest.strides[0].back(), stride, solution);
      }
    });
  });
}

void eigh(const Tensor& x, const Tensor& values, const Tensor& vectors) {
  if (x.numel() == 0) return;
  const std::int64_t n = x.size(-1), count = x.numel() / (n * n);
  const Device gpu = x.device();
  const Tensor info = infos(count, gpu);
  const Tensor work = dense_copy(x);
  const cusolverEigMode_t mode =
      vectors.defined() ? CUSOLVER_EIG_MODE_VECTOR : CUSOLVER_EIG_MODE_NOVECTOR;
  Call call("eigh");
  visit_real(x.dtype(), "eigh", [&]<class T>() {
    const Lease<cusolverDnHandle_t> lease = cusolver().lease(gpu);
    std::size_t on_gpu = 0, on_host = 0;
    call.check(cusolverDnXsyevd_bufferSize(
        lease.handle, call.params(), mode, CUBLAS_FILL_MODE_UPPER, n, kDataType<T>, work.raw_data(),
        n, kDataType<T>, values.raw_data(), kDataType<T>, &on_gpu, &on_host));
    call.allocate(on_gpu, on_host, count, gpu);
    for (std::int64_t i = 0; i < count; ++i) {
      call.check(cusolverDnXsyevd(lease.handle, call.params(), mode, CUBLAS_FILL_MODE_UPPER, n,
                                  kDataType<T>, work.data<T>() + i * n * n, n, kDataType<T>,
                                  values.data<T>() + i * n, kDataType<T>, call.gpu(),
                                  call.gpu_bytes(), call.host(i), call.host_bytes(),
                                  info.data<std::int32_t>() + i));
    }
  });
  if (vectors.defined()) copy(transposed(work), vectors);  // cuSOLVER's columns are our rows
  for (const std::int32_t code : to_host(info)) {
    check(code == 0, "eigh", "expected eigenvalues to converge, got cuSOLVER's code {}", code);
  }
}

void svdvals(const Tensor& x, const Tensor& values) {
  if (x.numel() == 0) return;
  const std::int64_t rows = x.size(-2), columns = x.size(-1);
  const std::int64_t least = std::min(rows, columns), most = std::max(rows, columns);
  const std::int64_t count = x.numel() / (rows * columns);
  const Device gpu = x.device();
  const Tensor info = infos(count, gpu);
  // cuSOLVER wants no fewer rows than columns; the transpose has the same singular values.
  const Tensor work = dense_copy(columns >= rows ? x : transposed(x));
  Call call("svdvals");
  visit_real(x.dtype(), "svdvals", [&]<class T>() {
    const Lease<cusolverDnHandle_t> lease = cusolver().lease(gpu);
    std::size_t on_gpu = 0, on_host = 0;
    call.check(cusolverDnXgesvd_bufferSize(
        lease.handle, call.params(), 'N', 'N', most, least, kDataType<T>, work.raw_data(), most,
        kDataType<T>, values.raw_data(), kDataType<T>, nullptr, most, kDataType<T>, nullptr, least,
        kDataType<T>, &on_gpu, &on_host));
    call.allocate(on_gpu, on_host, count, gpu);
    for (std::int64_t i = 0; i < count; ++i) {
      call.check(cusolverDnXgesvd(
          lease.handle, call.params(), 'N', 'N', most, least, kDataType<T>,
          work.data<T>() + i * most * least, most, kDataType<T>, values.data<T>() + i * least,
          kDataType<T>, nullptr, most, kDataType<T>, nullptr, least, kDataType<T>, call.gpu(),
          call.gpu_bytes(), call.host(i), call.host_bytes(), info.data<std::int32_t>() + i));
    }
  });
  for (const std::int32_t code : to_host(info)) {
    check(code == 0, "svdvals", "expected singular values to converge, got cuSOLVER's code {}",
          code);
  }
}

}  // namespace invar::cuda
