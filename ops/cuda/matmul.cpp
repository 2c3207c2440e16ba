// Matrix products by cuBLASLt.
//
//   - cuBLAS counts down the columns, so what it computes is out^T = b^T a^T: our dense rows are
//     its dense columns.
//   - The bias is added by the product itself (an epilogue) or, where cuBLASLt cannot, written to
//     `out` first and the product added. cuBLASLt knows an f32 bias beside an f32 result only: a
//     bf16 result with a bias is made in f32 and rounded once, in a pass of its own.
//   - cuBLASLt's first suggestion for a problem is used: nothing is timed. It is kept in a bounded
//     cache; that there is none is kept, too.
#include <cublasLt.h>

#include <invar/core/cuda/error.hpp>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/library.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/loop_nest.hpp>
#include <memory>

namespace invar::cuda {
namespace {

void check_cublas(cublasStatus_t status) {
  internal_check(status == CUBLAS_STATUS_SUCCESS, "matmul", "cuBLASLt: {}",
                 cublasGetStatusString(status));
}

/// One operand as cuBLAS sees it.
struct Operand {
  std::int64_t rows, columns;  ///< as stored, column after column
  std::int64_t leading;        ///< from column to column
  bool transposed;             ///< before the product
  std::int64_t batch_stride;   ///< 0: the same matrix for the whole batch

  /// A matrix of ours that has gone through for_matrix_kernel. The stride of a dimension of size 1
  /// means nothing.
  Operand(std::int64_t ours_rows, std::int64_t ours_columns, std::int64_t row_stride,
          std::int64_t column_stride, std::int64_t batch_stride)
      : batch_stride(batch_stride) {
    const bool by_rows =
        (ours_columns == 1 || column_stride == 1) && (ours_rows == 1 || row_stride >= ours_columns);
    rows = by_rows ? ours_columns : ours_rows;
    columns = by_rows ? ours_rows : ours_columns;
    leading = columns == 1 ? rows : by_rows ? row_stride : column_stride;
    transposed = !by_rows;
  }

  void add_to(ProblemKey& key) const {
    key.add(rows).add(columns).add(leading).add(transposed).add(batch_stride);
  }
};

/// The largest power of two up to 256 that divides an address.
int alignment(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  int bytes = 256;
  while (address % static_cast<std::uintptr_t>(bytes) != 0) bytes /= 2;
  return bytes;
}

enum class Bias { none, epilogue, in_out };

/// `count` products of one shape, in our terms: out[m, n] = a[m, k] b[k, n].
struct Problem {
  Operand a, b, out;
  std::int64_t count;
  DType dtype, out_dtype;
  Bias bias;
  int a_alignment, b_alignment, out_alignment, bias_alignment;

  ProblemKey key(Device gpu) const {
    ProblemKey key("matmul", {count, static_cast<std::int64_t>(dtype),
                              static_cast<std::int64_t>(out_dtype), static_cast<std::int64_t>(bias),
                              a_alignment, b_alignment, out_alignment, bias_alignment, gpu.index,
                              allow_tf32(), static_cast<std::int64_t>(workspace_limit())});
    for (const Operand* operand : {&a, &b, &out}) operand->add_to(key);
    return key;
  }
};

template <auto Destroy>
struct Destroyer {
  template <class T>
  void operator()(T* object) const {
    Destroy(object);
  }
};
using ProductDesc =
    std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroyer<cublasLtMatmulDescDestroy>>;
using Layout =
    std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroyer<cublasLtMatrixLayoutDestroy>>;
using Preference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroyer<cublasLtMatmulPreferenceDestroy>>;

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::f64 ? CUDA_R_64F : CUDA_R_16BF;
}

template <class T>
void set(const ProductDesc& desc, cublasLtMatmulDescAttributes_t name, const T& value) {
  check_cublas(cublasLtMatmulDescSetAttribute(desc.get(), name, &value, sizeof(value)));
}
template <class T>
void set(const Layout& layout, cublasLtMatrixLayoutAttribute_t name, const T& value) {
  check_cublas(cublasLtMatrixLayoutSetAttribute(layout.get(), name, &value, sizeof(value)));
}
template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, const T& value) {
  check_cublas(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof(value)));
}

Layout layout(const Operand& operand, DType dtype, std::int64_t count) {
  cublasLtMatrixLayout_t made = nullptr;
  check_cublas(
      cublasLtMatrixLayoutCreate(&made, data_type(dtype), static_cast<std::uint64_t>(operand.rows),
                                 static_cast<std::uint64_t>(operand.columns), operand.leading));
  Layout out(made);
  if (count > 1) {
    set(out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(count));
    set(out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, operand.batch_stride);
  }
  return out;
}

/// How cuBLASLt computes a problem.
struct Plan {
  ProductDesc product;
  Layout a, b, out;
  bool exists = false;  ///< false: it cannot
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace = 0;
};

ProductDesc describe(const Problem& p, const void* bias) {
  const DType sums = computed_in(p.dtype);
  const cublasComputeType_t compute = sums == DType::f64 ? CUBLAS_COMPUTE_64F
                                      : p.dtype == DType::f32 && allow_tf32()
                                          ? CUBLAS_COMPUTE_32F_FAST_TF32
                                          : CUBLAS_COMPUTE_32F;
  cublasLtMatmulDesc_t made = nullptr;
  check_cublas(cublasLtMatmulDescCreate(&made, compute, data_type(sums)));
  ProductDesc product(made);
  // b comes first: see above.
  set(product, CUBLASLT_MATMUL_DESC_TRANSA, p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(product, CUBLASLT_MATMUL_DESC_TRANSB, p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias == Bias::epilogue) {
    set(product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.out_dtype));
    set(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  return product;
}

Plan make_plan(const Problem& p, const void* bias, cublasLtHandle_t handle) {
  Plan plan{.product = describe(p, bias),
            .a = layout(p.a, p.dtype, p.count),
            .b = layout(p.b, p.dtype, p.count),
            .out = layout(p.out, p.out_dtype, p.count)};
  cublasLtMatmulPreference_t made = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&made));
  const Preference preference(made);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      static_cast<std::uint64_t>(workspace_limit()));
  // Partial sums are f32 for bf16, too, and are added in a fixed order.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
      static_cast<std::uint32_t>(p.b_alignment));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      static_cast<std::uint32_t>(p.a_alignment));
  for (const auto name :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(preference, name, static_cast<std::uint32_t>(p.out_alignment));
  }
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, plan.product.get(), plan.b.get(), plan.a.get(), plan.out.get(), plan.out.get(),
      preference.get(), 1, &best, &found);
  plan.exists = status == CUBLAS_STATUS_SUCCESS && found == 1 && best.state == status;
  plan.algorithm = best.algo;
  plan.workspace = best.workspaceSize;
  return plan;
}

Handles<cublasLtHandle_t>& handles() {
  static auto* const made = new Handles<cublasLtHandle_t>(
      [] {
        cublasLtHandle_t handle = nullptr;
        check_cublas(cublasLtCreate(&handle));
        return handle;
      },
      [](cublasLtHandle_t, CUstream_st*) {});  // each product is given its stream
  return *made;
}

/// Where the matrices and the bias of a problem begin.
struct Addresses {
  const void* a;
  const void* b;
  void* out;
  const void* bias;
};

/// False if cuBLASLt cannot.
bool try_run(const Problem& p, const Addresses& at, Device gpu) {
  // One cache per GPU: the lock of the GPU's lease guards it, and the plan's pointer to the bias.
  static auto* const plans = new std::array<PlanCache<Plan>, 128>;
  const Lease<cublasLtHandle_t> lease = handles().lease(gpu);
  const Plan& plan = (*plans)[static_cast<std::size_t>(gpu.index)].find_or_make(
      p.key(gpu), [&] { return make_plan(p, at.bias, lease.handle); });
  if (!plan.exists) return false;
  if (p.bias == Bias::epilogue) set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, at.bias);
  const Workspace workspace(plan.workspace, gpu);
  const float one = 1, out_factor = p.bias == Bias::in_out ? 1 : 0;
  const double one64 = one, out_factor64 = out_factor;
  const bool f64 = p.dtype == DType::f64;
  check_cublas(cublasLtMatmul(
      lease.handle, plan.product.get(), f64 ? static_cast<const void*>(&one64) : &one, at.b,
      plan.b.get(), at.a, plan.a.get(), f64 ? static_cast<const void*>(&out_factor64) : &out_factor,
      at.out, plan.out.get(), at.out, plan.out.get(), &plan.algorithm, workspace.data(),
      plan.workspace, current_stream(gpu.index)));
  return true;
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out) {
  const int rank = out.dim();
  const std::int64_t m = out.shape()[rank - 2], n = out.shape()[rank - 1], k = a.size(-1);
  if (out.numel() == 0) return;
  if (k == 0) {  // the empty sum
    if (bias.defined()) return copy(bias, out);
    return fill(0, out);
  }
  if (bias.defined() && bias.dtype() != out.dtype()) {
    const Tensor wide = empty(out.shape(), {.dtype = bias.dtype(), .device = out.device()});
    matmul(a, b, bias, wide);
    return copy(wide, out);
  }
  const auto batch = [](const Dims& dims) { return dims.first(dims.size() - 2); };
  const LoopNest<3> nest(batch(out.shape()),
                         {batch(a.strides()), batch(b.strides()), batch(out.strides())});
  const int last = nest.shape.size() - 1;
  const auto operand = [&](const Tensor& x, std::int64_t rows, std::int64_t columns, int which) {
    return Operand(rows, columns, x.strides()[rank - 2], x.strides()[rank - 1],
                   nest.strides[static_cast<std::size_t>(which)][last]);
  };
  const Operand of_out(m, n, n, 1, nest.strides[2][last]);
  // There are no epilogues in f64, and they read a bias in vectors.
  const Bias way = !bias.defined()                                              ? Bias::none
                   : a.dtype() == DType::f64 || alignment(bias.raw_data()) < 16 ? Bias::in_out
                                                                                : Bias::epilogue;

  // One batch of products per outer index of the batch dimensions.
  std::int64_t products = 1;
  for (const std::int64_t size : nest.shape) products *= size;
  nest.run(0, products, [&](const std::array<std::int64_t, 3>& offsets, std::int64_t count) {
    const auto begin = [](const Tensor& x, std::int64_t offset) {
      return static_cast<char*>(x.raw_data()) +
             offset * static_cast<std::int64_t>(size_of(x.dtype()));
    };
    const Addresses at{begin(a, offsets[0]), begin(b, offsets[1]), begin(out, offsets[2]),
                       bias.defined() ? bias.raw_data() : nullptr};
    Problem p{.a = operand(a, m, k, 0),
              .b = operand(b, k, n, 1),
              .out = of_out,
              .count = count,
              .dtype = a.dtype(),
              .out_dtype = out.dtype(),
              .bias = way,
              .a_alignment = alignment(at.a),
              .b_alignment = alignment(at.b),
              .out_alignment = alignment(at.out),
              .bias_alignment = alignment(at.bias)};
    const auto add_bias_first = [&] {
      copy(bias, alias(out, {count, m, n}, {of_out.batch_stride, n, 1}, out.offset() + offsets[2]));
    };
    if (p.bias == Bias::in_out) add_bias_first();
    bool done = try_run(p, at, out.device());
    if (!done && p.bias == Bias::epilogue) {
      p.bias = Bias::in_out;
      add_bias_first();
      done = try_run(p, at, out.device());
    }
    check(
        done, "matmul",
        "expected matrices that cuBLASLt can multiply, got {} (strides {}) and {} (strides {}) of "
        "dtype {}",
        a.shape(), a.strides(), b.shape(), b.strides(), a.dtype());
  });
}

}  // namespace invar::cuda
