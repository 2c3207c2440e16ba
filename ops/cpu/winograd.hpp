#pragma once
// 3x3 convolution by Winograd's algorithm on tiles of 4x4 outputs: a quarter of the multiplications
// of the direct algorithm with stride 1, F(4x4, 3x3), and 56 % of them with stride 2 (Note
// [Winograd for stride 2] in winograd_kernels.hpp). With stride 1 some tiles are 3 high or wide
// where that covers the outputs with fewer multiplications: 5x5 outputs need 100 of them instead of
// 144, 14x14 484 instead of 576. In f32 errors are about ten times direct's
// (relative root mean square 1e-6); in bf16 see Note [Winograd in bf16]. A non-finite value spreads
// over its tile.
//
// All three passes cut the image into tiles, transform blocks of tiles (winograd_kernels.hpp has
// the mathematics), multiply small matrices, 25 to 36 of them (81 with stride 2), and transform
// back:
//
//   forward    M[p] = V[p] U[p]            [tiles, I] [I, O]   V: image, U: weight
//   input      the same with the gradient in the image's place and the weight turned
//   weight     dU[p] = sum of Q[p]' V[p]   [O, tiles] [tiles, I]   Q: gradient
//
// Blocks depend on the shape only and every sum is one thread's: the same bits for any number of
// threads.
#include <invar/ops/conv_choices.hpp>

namespace invar::cpu {

/// True iff the three functions below can do this convolution.
bool winograd_fits(const Dims& weight, const Conv2dOptions& o);

/// True iff they can multiply numbers of this dtype here: f32 anywhere, bf16 where the processor
/// has products of bf16.
bool has_winograd(DType dtype);

/// True iff Winograd's algorithm is faster than the direct one: a function of dtype, shapes and
/// instruction set alone, so that a run can be repeated. From bench_conv.
///
/// Stride 1, f32: on AVX2 (Zen 3) 1.3 to 2.4 times as fast forward and for the input, 1.3 to 2.8
/// times for the weight, from 16 channels on; on AVX-512 (Zen 4) 1.2 to 2.8 and 1.1 to 2.8. bf16
/// (Zen 4): 1.2 to 2.4 from 32 channels on, and 1.1 to 3.0 from 16 on; not with AMX. Left to the
/// direct algorithm are images so small (1x1, 2x2) that tiles save less than half of the
/// multiplications.
///
/// Stride 2, from 64 channels on: on AVX-512 (Zen 4) 1.25 to 1.6 times as fast in f32, 1.05 to 2.9
/// in bf16; on AVX2 (Zen 3) 1.3 to 1.5. Forward and for the input only where images fill most of
/// their tiles of 8x8: padding's products, which the direct algorithm leaves out, are half of the
/// gain on images of 7x7. On AVX2 the same goes for the weight from 64 channels on (1.3 to 1.6
/// times as fast); with fewer it always pays there (1.7 to 1.8).
bool winograd_pays(const ConvProblem& problem, const Dims& outputs);

// As the slots of the same names; has_winograd, winograd_fits, nothing empty.
void winograd_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv2dOptions& o, const Tensor& out);
void winograd_conv2d_backward_input(const Tensor& gradient, const Tensor& weight,
                                    const Conv2dOptions& o, const Tensor& out);
void winograd_conv2d_backward_weight(const Tensor& gradient, const Tensor& x,
                                     const Conv2dOptions& o, const Tensor& out);

}  // namespace invar::cpu
