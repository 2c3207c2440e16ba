#pragma once
// bf16 on the CPU is a way to store numbers: a kernel of f32 serves bf16 as well, by widening what
// it reads and rounding what it makes (to nearest, ties to even; a NaN stays one).
//
//   elementwise (loops.hpp)   a run at a time, in scratch memory that stays in the first cache
//   batch-norm (norm.cpp)     an element at a time, in registers
//   everything else           a tensor at a time: widened() and round_into()
//
// Where oneDNN has bf16 for this processor (has_native_bf16, ops/machine.hpp), convolutions and
// matrix products use that instead.
#include <invar/ops/cpu/kernels.hpp>

namespace invar::cpu {

/// The f32 values of a bf16 tensor in a new tensor, in the same order in memory, a broadcast
/// dimension still broadcast. Any other tensor, or an undefined one: itself.
Tensor widened(const Tensor& x);

/// Calls make(wide) with a dense f32 tensor in place of a bf16 `out`, and rounds what it has
/// written. With any other `out`: make(out).
template <class F>
void round_into(const Tensor& out, const F& make) {
  if (out.dtype() != DType::bf16) return make(out);
  const Tensor wide = empty(out.shape(), {.device = out.device()});
  make(wide);
  copy(wide, out);
}

}  // namespace invar::cpu
