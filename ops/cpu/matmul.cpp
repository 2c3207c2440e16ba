#include <atomic>
#include <cstring>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/blas.hpp>
#include <invar/ops/cpu/gemm.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/cpu/onednn.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/machine.hpp>
#include <memory>
#include <vector>

namespace invar::cpu {
namespace {

/// Calls tile(row, rows, column, columns) for the tiles of an m x n matrix, in parallel.
template <class F>
void for_tiles(std::int64_t m, std::int64_t n, std::int64_t tile_rows, std::int64_t tile_columns,
               const F& tile) {
  const std::int64_t across = ceil_div(n, tile_columns);
  parallel_for(ceil_div(m, tile_rows) * across, 1, [&](std::int64_t at, std::int64_t) {
    const std::int64_t row = at / across * tile_rows, column = at % across * tile_columns;
    tile(row, std::min(tile_rows, m - row), column, std::min(tile_columns, n - column));
  });
}

// --- f64 -----------------------------------------------------------------------------------------
// A tile of c is 128 x 128. For each block of 256 terms, the tile's rows of a and columns of b are
// copied into panels of kRows rows and kColumns columns, zero at the edges, so that the innermost
// loop reads both densely whatever their strides, and keeps its sums in vector registers.

constexpr std::int64_t kTileSide = 128;
constexpr std::int64_t kTerms = 256;
constexpr std::int64_t kRows = 4, kColumns = 8;

/// to[panel][term][lane]: `count` lines of x, cut into panels of kLanes lines.
template <std::int64_t kLanes>
void pack(const double* x, std::int64_t line_stride, std::int64_t term_stride, std::int64_t count,
          std::int64_t terms, double* to) {
  for (std::int64_t first = 0; first < count; first += kLanes, to += terms * kLanes) {
    const std::int64_t lanes = std::min(kLanes, count - first);
    for (std::int64_t t = 0; t < terms; ++t) {
      const double* from = x + first * line_stride + t * term_stride;
      for (std::int64_t l = 0; l < lanes; ++l) to[t * kLanes + l] = from[l * line_stride];
      for (std::int64_t l = lanes; l < kLanes; ++l) to[t * kLanes + l] = 0;
    }
  }
}

/// sums[i][j] = sum over the terms of a[t][i] b[t][j].
void multiply_panels(const double* a, const double* b, std::int64_t terms,
                     double (&sums)[kRows][kColumns]) {
  double acc[kRows][kColumns] = {};
  for (std::int64_t t = 0; t < terms; ++t) {
    for (std::int64_t i = 0; i < kRows; ++i) {
      for (std::int64_t j = 0; j < kColumns; ++j) {
        acc[i][j] += a[t * kRows + i] * b[t * kColumns + j];
      }
    }
  }
  std::memcpy(sums, acc, sizeof(acc));
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<double> a,
          MatrixView<double> b, const double* bias, double* c, std::int64_t c_stride) {
  for_tiles(
      m, n, kTileSide, kTileSide,
      [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
        double* const tile = c + row * c_stride + column;
        for (std::int64_t i = 0; i < rows; ++i) {
          for (std::int64_t j = 0; j < columns; ++j) {
            tile[i * c_stride + j] = bias ? bias[column + j] : 0.0;
          }
        }
        const std::int64_t row_panels = ceil_div(rows, kRows),
                           column_panels = ceil_div(columns, kColumns);
        const std::int64_t block = std::min(k, kTerms);
        const auto buffer = std::make_unique_for_overwrite<double[]>(
            static_cast<std::size_t>(block * (row_panels * kRows + column_panels * kColumns)));
        double* const a_panels = buffer.get();
        double* const b_panels = a_panels + block * row_panels * kRows;
        for (std::int64_t first = 0; first < k; first += kTerms) {
          const std::int64_t terms = std::min(kTerms, k - first);
          pack<kRows>(a.at(row, first).data, a.row_stride, a.column_stride, rows, terms, a_panels);
          pack<kColumns>(b.at(first, column).data, b.column_stride, b.row_stride, columns, terms,
                         b_panels);
          for (std::int64_t q = 0; q < column_panels; ++q) {
            for (std::int64_t p = 0; p < row_panels; ++p) {
              double sums[kRows][kColumns];
              multiply_panels(a_panels + p * kRows * terms, b_panels + q * kColumns * terms, terms,
                              sums);
              const std::int64_t i_end = std::min(kRows, rows - p * kRows);
              const std::int64_t j_end = std::min(kColumns, columns - q * kColumns);
              for (std::int64_t i = 0; i < i_end; ++i) {
                double* const to = tile + (p * kRows + i) * c_stride + q * kColumns;
                for (std::int64_t j = 0; j < j_end; ++j) to[j] += sums[i][j];
              }
            }
          }
        }
      });
}

// --- f32 -----------------------------------------------------------------------------------------
// A tile is made by oneDNN's sgemm where there is AVX-512 or an OpenBLAS that does not know the
// processor, by OpenBLAS elsewhere and where there is little to do. GFLOP/s of one Zen 5 core
// (oneDNN 3.2, OpenBLAS 0.3.21, which knows that processor as one with AVX2), in brackets with
// oneDNN told to keep to AVX2:
//
//                                       oneDNN        OpenBLAS
//   256 x 512 from 2048   a b^T       229  (125)        125
//                         a b         253  (129)        127
//                         a^T b       252  (85)         125
//   16 x 16 from 16       a b          33                59
//
// Each tile is computed by one thread, so the bits do not depend on their number.

namespace {

/// How a library is told about a matrix: by rows, or by columns if transposed.
struct MatrixLayout {
  bool transposed;
  std::int64_t stride;  ///< between rows, or between columns if transposed
};

MatrixLayout layout_of(std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                       std::int64_t column_stride) {
  // Strides of a dimension of size 1 mean nothing, but BLAS checks them, and oneDNN might take them
  // for a layout.
  if ((columns == 1 || column_stride == 1) && (rows == 1 || row_stride >= columns)) {
    return {false, rows == 1 ? columns : row_stride};
  }
  return {true, columns == 1 ? rows : column_stride};
}

bool is_onednns_product(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr double kLeast = 1 << 15;
  return (has_avx512() || !blas::knows_processor()) &&
         static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) >= kLeast;
}

/// c = a b + beta c, in this thread. False if there was no memory for oneDNN's copies.
bool multiply(bool by_onednn, MatrixLayout la, MatrixLayout lb, std::int64_t m, std::int64_t n,
              std::int64_t k, const float* a, const float* b, float beta, float* c,
              std::int64_t ldc) {
  if (by_onednn) {
    const OneThread guard;
    return dnnl::sgemm(la.transposed ? 'T' : 'N', lb.transposed ? 'T' : 'N', m, n, k, 1.0f, a,
                       la.stride, b, lb.stride, beta, c, ldc) == dnnl::status::success;
  }
  const auto op = [](MatrixLayout layout) { return layout.transposed ? CblasTrans : CblasNoTrans; };
  blas::gemm(op(la), op(lb), static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), a,
             static_cast<int>(la.stride), b, static_cast<int>(lb.stride), beta, c,
             static_cast<int>(ldc));
  return true;
}

}  // namespace

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<float> a, MatrixView<float> b,
          const float* bias, float* c, std::int64_t c_stride) {
  if (m == 0 || n == 0) return;
  blas::use_one_thread();
  // Large tiles copy less into OpenBLAS's buffers; several are wanted so that all cores have work.
  constexpr std::int64_t kLarge = 512, kSmall = 256, kEnough = 8;
  std::int64_t rows_per_tile = kLarge, columns_per_tile = kLarge;
  const auto tiles = [&] { return ceil_div(m, rows_per_tile) * ceil_div(n, columns_per_tile); };
  if (tiles() < kEnough) columns_per_tile = kSmall;
  if (tiles() < kEnough) rows_per_tile = kSmall;
  const MatrixLayout la = layout_of(m, k, a.row_stride, a.column_stride);
  const MatrixLayout lb = layout_of(k, n, b.row_stride, b.column_stride);
  const bool by_onednn = is_onednns_product(m, n, k);
  std::atomic<bool> done = true;
  for_tiles(m, n, rows_per_tile, columns_per_tile,
            [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
              float* const tile = c + row * c_stride + column;
              for (std::int64_t i = 0; bias && i < rows; ++i) {
                std::memcpy(tile + i * c_stride, bias + column,
                            static_cast<std::size_t>(columns) * sizeof(float));
              }
              if (!multiply(by_onednn, la, lb, rows, columns, k, a.at(row, 0).data,
                            b.at(0, column).data, bias ? 1.0f : 0.0f, tile, c_stride)) {
                done = false;
              }
            });
  check(done, "matmul", "expected memory for copies of the operands, got none left");
}

// --- bf16 ----------------------------------------------------------------------------------------

namespace {

/// One product by oneDNN: the matrices begin at these elements of a and b.
void multiply_bf16(const Tensor& a, std::int64_t a_begin, const Tensor& b, std::int64_t b_begin,
                   const Tensor& bias, const Tensor& out, std::int64_t out_begin) {
  const int rank = out.dim();
  const std::int64_t m = out.shape()[rank - 2], n = out.shape()[rank - 1], k = a.size(-1);
  const auto strides = [&](const Tensor& x, std::int64_t rows, std::int64_t columns) -> Dims {
    const auto [transposed, stride] =
        layout_of(rows, columns, x.strides()[rank - 2], x.strides()[rank - 1]);
    return transposed ? Dims{1, stride} : Dims{stride, 1};
  };
  const Dims a_strides = strides(a, m, k), b_strides = strides(b, k, n);
  const auto a_desc = onednn::desc({m, k}, a_strides, DType::bf16);
  const auto b_desc = onednn::desc({k, n}, b_strides, DType::bf16);
  const auto bias_desc = onednn::desc({1, n}, {n, 1}, DType::f32);
  const auto out_desc = onednn::desc({m, n}, {n, 1}, out.dtype());
  const ProblemKey key("matmul bf16",
                       {m, n, k, a_strides[0], a_strides[1], b_strides[0], b_strides[1],
                        static_cast<std::int64_t>(out.dtype()), bias.defined()});
  const onednn::Primitive product = onednn::primitive(key, [&] {
    return bias.defined() ? dnnl::matmul::primitive_desc(onednn::engine(), a_desc, b_desc,
                                                         bias_desc, out_desc, onednn::attributes())
                          : dnnl::matmul::primitive_desc(onednn::engine(), a_desc, b_desc, out_desc,
                                                         onednn::attributes());
  });
  const auto matrix = [](const Tensor& x, std::int64_t begin, const dnnl::memory::desc& desc) {
    return onednn::memory(alias(x, {1}, {1}, x.offset() + begin), desc);
  };
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, matrix(a, a_begin, a_desc)},
                                                  {DNNL_ARG_WEIGHTS, matrix(b, b_begin, b_desc)},
                                                  {DNNL_ARG_DST, matrix(out, out_begin, out_desc)}};
  if (bias.defined()) arguments[DNNL_ARG_BIAS] = onednn::memory(bias, bias_desc);
  onednn::execute(product, std::move(arguments));
}

void matmul_bf16(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out) {
  if (!has_native_bf16()) {
    return round_into(out, [&](const Tensor& y) { matmul(widened(a), widened(b), bias, y); });
  }
  const std::vector<std::int64_t> a_offsets = matrix_offsets(a), b_offsets = matrix_offsets(b);
  const std::int64_t size = out.size(-2) * out.size(-1);
  for (std::size_t i = 0; i < a_offsets.size(); ++i) {
    multiply_bf16(a, a_offsets[i], b, b_offsets[i], bias, out, static_cast<std::int64_t>(i) * size);
  }
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out) {
  const int rank = out.dim();
  const std::int64_t m = out.shape()[rank - 2], n = out.shape()[rank - 1], k = a.size(-1);
  if (out.numel() == 0) return;
  if (k == 0) {
    bias.defined() ? copy(bias, out) : fill(0, out);
    return;
  }
  if (a.dtype() == DType::bf16) return matmul_bf16(a, b, bias, out);
  // The stride of a dimension of size 1 means nothing.
  const auto stride = [](const Tensor& x, int dim) {
    return x.size(dim) == 1 ? 1 : x.strides()[x.dim() + dim];
  };
  blas::check_sizes("matmul",
                    {m, n, k, stride(a, -2), stride(a, -1), stride(b, -2), stride(b, -1)});
  visit_real(out.dtype(), "matmul", [&]<class T>() {
    const std::vector<std::int64_t> a_offsets = matrix_offsets(a), b_offsets = matrix_offsets(b);
    const T* const bias_data = bias.defined() ? bias.data<T>() : nullptr;
    const auto matrices = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        gemm(m, n, k,
             MatrixView<T>{a.data<T>() + a_offsets[at], a.strides()[rank - 2],
                           a.strides()[rank - 1]},
             MatrixView<T>{b.data<T>() + b_offsets[at], b.strides()[rank - 2],
                           b.strides()[rank - 1]},
             bias_data, out.data<T>() + i * m * n, n);
      }
    };
    const std::int64_t count = out.numel() / (m * n);
    // Large matrices one after the other, each with all threads; small ones side by side.
    constexpr double kLargeProduct = 1 << 24;
    const double products =
        static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    if (count == 1 || products > kLargeProduct) {
      matrices(0, count);
    } else {
      blas::use_one_thread();
      parallel_for(count, std::max<std::int64_t>(1, static_cast<std::int64_t>(1e5 / products)),
                   matrices);
    }
  });
}

}  // namespace invar::cpu
