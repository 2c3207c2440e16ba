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
// Tiles of three, F(3, 3), have 5 inputs and the points 0, a, -a, b and infinity of the note below,
// and its B' d:
//
//   G g     g0 / pb,  (g0 + a g1 + p g2) / f,  (g0 - a g1 + p g2) / k,  (g0 + b g1 + q g2) / h,  g2
//   A' m    m0 + s + m3,  a u + b m3,  p s + q m3 + m4
//
// The gradients are the transposed maps: x' is the convolution of y' with the turned weight, and
// g' = G' [(A y' A') * (B' d B)] G, where the product is summed over all tiles.
//
// Memory: a "plane" is one of the 6x6 (or 6x5, 5x6, 5x5) positions; a transformed tile has a row of
// channels in each plane, padded to kWidth.
//
// Note [Winograd for stride 2]
// With stride 2, output i is g0 x[2i] + g1 x[2i + 1] + g2 x[2i + 2] (x with its padding). The outer
// taps g0, g2 are a convolution of stride 1 of every other input d[i] = x[2i]; it is F(4, 2), whose
// 4 outputs cost 5 products, and the inner tap costs one product for each: 9 instead of 12, and in
// two dimensions 81 instead of 144 for a tile of 4x4. There are 6x6 different weights: the inner
// products of a dimension share one. The points are 0, a, -a, b and infinity, a = 3/4, b = 2 (of
// those that were tried the errors are the least, 6e-7 forward). With p = a^2, q = b^2 and e[i] =
// x[2i + 1]:
//
//   B' d    s - b (d2 - p d0),  (d3 - b d2) +- a (d2 - b d1),  s,  d4 - p d2 - b s,
//           e0, e1, e2, e3          with s = d3 - p d1
//   G g     g0 / pb,  (g0 + a g2) / f,  (g0 - a g2) / k,  (g0 + b g2) / h,  g2,
//           g1                      with f = 2 p (a - b), k = -2 p (a + b), h = b (q - p)
//   A' m    m0 + s + m3,  a u + b m3 + m5,  p s + q m3 + m6,  a p u + b q m3 + m4
//                                   with s = m1 + m2, u = m1 - m2
//
// m0 and m4 take part in one output each, so the products of e0 and e3 are added to them at once;
// m5 and m6 are those of e1 and e2. So there are 9x9 planes of the image, 6x6 of the weight, 7x7 of
// the outputs. The gradient of the weight is the transposed map again: its 81 products have 36
// sums.
//
// The gradient of the input, "spread", has two kinds of inputs: x'[2i + 1] = g1 y'[i] is one
// product, and x'[2i + 2] = g2 y'[i] + g0 y'[i + 1] is F(4, 2) again. A tile is 8x8 inputs, from
// 5x5 of y': 9x9 planes of both.
//
// Note [Winograd in bf16]
// Images and weights are bf16, their transforms are computed in f32 and rounded to bf16, products
// are added in f32. The rounding of the transforms costs 0.9 to 1.3 % (root mean square, relative;
// more in a tile that is mostly padding), where the direct algorithm costs the 0.2 % of rounding
// its result. The processor multiplies two pairs of bf16 at once, so matrices are made of units: a
// unit is 4 bytes, one f32 or two bf16 that are neighbours along the sum. A row of channels is a
// row of units as it is (its sum goes over the channels); where the sum goes over tiles, a unit is
// made of two tiles.
#include <cstdint>

namespace invar::cpu {

struct WinogradKernels {
  int width;  ///< floats of a vector
  int pair;   ///< numbers of a unit: 1 (f32) or 2 (bf16)

  /// Forward, or the gradient of the input: of a tile of the image, to a tile of outputs.
  struct Data {
    /// B' d B. Reads `channels` values at each of the tile's pixels, row by row; writes them,
    /// padded with zeros to the width, as units to v + p * plane for each p.
    void (*transform_image)(const void* const* pixels, std::int64_t channels, float* v,
                            std::int64_t plane);
    /// G g G' for kWidth units of weights w[lane * lane_stride + k * k_stride + tap * tap_stride],
    /// k < pair, of which `lanes` and `depth` exist.
    void (*transform_weight)(const void* w, std::int64_t depth, std::int64_t k_stride,
                             std::int64_t lanes, std::int64_t lane_stride, std::int64_t tap_stride,
                             float* u, std::int64_t plane);
    /// A' m A + bias (which may be null), to the tile's pixels, row by row.
    void (*transform_output)(const float* m, std::int64_t plane, std::int64_t channels,
                             const float* bias, void* const* pixels);
  };
  Data plain[2][2];  ///< stride 1: four or three outputs down; four or three across
  Data strided;      ///< stride 2, forward
  Data spread;       ///< stride 2, the gradient of the input

  struct WeightGradient {
    /// B' d B of `pair` tiles, whose pixels follow each other: a unit is made of a channel of each.
    void (*transform_images)(const void* const* pixels, std::int64_t channels, float* v,
                             std::int64_t plane);
    /// A y A' of `pair` tiles, likewise.
    void (*transform_gradients)(const void* const* pixels, std::int64_t channels, float* v,
                                std::int64_t plane);
    /// G' u G for `lanes` neighbours is stored in w[lane + tap * tap_stride], or added.
    void (*transform_weight)(const float* u, std::int64_t plane, std::int64_t lanes, float* w,
                             std::int64_t tap_stride, bool add);
  };
  WeightGradient plain_weight[2][2], strided_weight;

  /// c[i * c_row + j] (+)= sum over k < depth of a[i * a_row + k * a_step] b(k, j) for i < rows and
  /// j < columns, a multiple of the width; a and b are units, c is f32. b goes in panels of 2 *
  /// width columns: b(k, j) = b[j / (2 width) * b_panel + k * b_step + j % (2 width)].
  void (*multiply)(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a,
                   std::int64_t a_row, std::int64_t a_step, const float* b, std::int64_t b_panel,
                   std::int64_t b_step, float* c, std::int64_t c_row, bool accumulate);
};

const WinogradKernels& winograd_baseline();
const WinogradKernels& winograd_avx2();
const WinogradKernels& winograd_avx512();
const WinogradKernels& winograd_avx512_bf16();  ///< of bf16; all others of f32

}  // namespace invar::cpu
