#pragma once
// The inner loops of winograd.cpp, once for every instruction set: winograd_<isa>.cpp defines
// kWidth, includes winograd_kernels.inc and is compiled with the flags of its instruction set.
//
// Note [Winograd's transforms]
// F(4x4, 3x3) makes a 4x4 tile of outputs of a 3x3 convolution from 6x6 inputs d and the weight g
// with 36 instead of 144 multiplications (Winograd 1980; Lavin and Gray 2016):
//
//   y = A' [(G g G') * (B' d B)] A            * element by element, ' transposed
//
// The matrices follow from five points and infinity, at which polynomials are multiplied: 0, a, -a,
// b, -b. The usual choice is a = 1, b = 2. Ours is a = 5/8, b = 3/2, whose errors are half as large
// (root mean square relative to f64, on rectified normal inputs: 7e-7 instead of 15e-7 forward,
// 10e-7 instead of 19e-7 for the gradient of the weight); its multiples cost nothing where there is
// a fused multiply-add. One dimension of each transform, with p = a^2, q = b^2:
//
//   B' d    pq d0 - (p + q) d2 + d4,
//           (d4 - q d2) +- a (d3 - q d1),  (d4 - p d2) +- b (d3 - p d1),
//           pq d1 - (p + q) d3 + d5
//   G g     g0 / pq,  (g0 +- a g1 + p g2) / f,  (g0 +- b g1 + q g2) / h,  g2
//           with f = 2 p (p - q), h = 2 q (q - p)
//   A' m    m0 + s + t,  a u + b v,  p s + q t,  a p u + b q v + m5
//           with s = m1 + m2, u = m1 - m2, t = m3 + m4, v = m3 - m4
//
// The gradients are the transposed maps: x' is the convolution of y' with the turned weight, and
// g' = G' [(A y' A') * (B' d B)] G, where the product is summed over all tiles.
//
// Memory: "plane" p = 0..35 is one of the 6x6 positions; a transformed tile has a row of channels
// in each plane, padded to kWidth.
#include <cstdint>

namespace invar::cpu {

struct WinogradKernels {
  int width;  ///< floats of a vector

  /// B' d B. Reads `channels` floats at each of pixels[row * 6 + column]; writes them, padded with
  /// zeros to the width, to v + p * plane for each p.
  void (*transform_image)(const float* const* pixels, std::int64_t channels, float* v,
                          std::int64_t plane);
  /// A y A' of pixels[row * 4 + column], likewise.
  void (*transform_gradient)(const float* const* pixels, std::int64_t channels, float* v,
                             std::int64_t plane);
  /// A' m A + bias (which may be null), to pixels[row * 4 + column].
  void (*transform_output)(const float* m, std::int64_t plane, std::int64_t channels,
                           const float* bias, float* const* pixels);
  /// G g G' for kWidth weights w[lane * lane_stride + tap * tap_stride], of which `lanes` exist.
  void (*transform_weight)(const float* w, std::int64_t lanes, std::int64_t lane_stride,
                           std::int64_t tap_stride, float* u, std::int64_t plane);
  /// G' u G for `lanes` neighbours, to w[lane + tap * tap_stride].
  void (*transform_weight_gradient)(const float* u, std::int64_t plane, std::int64_t lanes,
                                    float* w, std::int64_t tap_stride);

  /// c[i * c_row + j] (+)= sum over k < depth of a[i * a_row + k * a_step] b(k, j) for i < rows and
  /// j < columns, a multiple of the width. b goes in panels of 2 * width columns: b(k, j) =
  /// b[j / (2 width) * b_panel + k * b_step + j % (2 width)].
  void (*multiply)(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a,
                   std::int64_t a_row, std::int64_t a_step, const float* b, std::int64_t b_panel,
                   std::int64_t b_step, float* c, std::int64_t c_row, bool accumulate);
};

const WinogradKernels& winograd_baseline();
const WinogradKernels& winograd_avx2();
const WinogradKernels& winograd_avx512();

}  // namespace invar::cpu
