#pragma once
// Matrix products on the CPU: c = a b (+ bias), one matrix each, row-major c.
//
// Both forms cut c into tiles whose size depends on the shape only and compute a tile in one
// thread, so the bits do not depend on the number of threads.
#include <cstdint>

namespace invar::cpu {

/// A matrix inside a larger array: element (i, j) is data[i * row_stride + j * column_stride].
template <class T>
struct MatrixView {
  const T* data;
  std::int64_t row_stride;
  std::int64_t column_stride;

  MatrixView at(std::int64_t i, std::int64_t j) const {
    return {data + i * row_stride + j * column_stride, row_stride, column_stride};
  }
};

/// c[m, n] = a[m, k] b[k, n] + bias[n] (nullptr: none); row i of c begins at c + i * c_stride.
/// f64: the reference, any strides; sums k in ascending order, in blocks of 256 terms.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<double> a,
          MatrixView<double> b, const double* bias, double* c, std::int64_t c_stride);
/// f32: OpenBLAS or oneDNN. Of a's two strides, and of b's, one must be 1.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<float> a, MatrixView<float> b,
          const float* bias, float* c, std::int64_t c_stride);

}  // namespace invar::cpu
