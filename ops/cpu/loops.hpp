#pragma once
// Elementwise loops over strided, broadcasting operands:
//
//   elementwise<float>(out, [](float a, float b) { return a + b; }, a, b);
//
// Operands are broadcast to out's shape (stride 0), neighbouring dimensions that every operand
// walks through without a jump are merged, and what is left is a nest whose innermost loop is a
// plain strided loop: dense in the common case, where the compiler vectorises it.
#include <array>
#include <functional>
#include <initializer_list>
#include <invar/core/tensor.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/loop_nest.hpp>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace invar::cpu {

/// Where each matrix of x (its last two dimensions) begins, in row-major order of the batch.
inline std::vector<std::int64_t> matrix_offsets(const Tensor& x) {
  Dims batch, strides;
  for (int d = 0; d < x.dim() - 2; ++d) {
    batch.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
  }
  const LoopNest<1> nest(batch, {strides});
  const std::int64_t step = nest.strides[0][nest.shape.size() - 1];
  std::vector<std::int64_t> offsets;
  nest.run(0, numel_of(batch), [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
    for (std::int64_t i = 0; i < length; ++i) offsets.push_back(at[0] + i * step);
  });
  return offsets;
}

/// One innermost run: pointers[0] is the output, the rest the inputs; steps in bytes.
using RowFunction = void (*)(const void* functor, char* const* pointers, const std::int64_t* steps,
                             std::int64_t length);

/// Runs `row` over the merged loop nest of out and the inputs, which broadcast to it.
void run_rows(const Tensor& out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
              RowFunction row, const void* functor);

/// The same for a row of f32 and tensors of bf16: pieces of their rows are widened into scratch
/// memory, and what the row makes of them is rounded.
void run_widened_rows(const Tensor& out,
                      std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
                      RowFunction row, const void* functor);

/// The loop over one run of f. The only code that is compiled for every functor and dtype: the rest
/// of the nest is run_rows, compiled once.
template <class F, class Out, class... In, std::size_t... I>
void functor_row(const F& f, char* const* pointers, const std::int64_t* steps, std::int64_t length,
                 std::index_sequence<I...>) {
  bool dense = steps[0] == sizeof(Out);
  ((dense &= steps[I + 1] == sizeof(In)), ...);
  Out* const to = reinterpret_cast<Out*>(pointers[0]);
  if (dense) {
    const std::tuple<const In*...> from{reinterpret_cast<const In*>(pointers[I + 1])...};
    for (std::int64_t i = 0; i < length; ++i) to[i] = f(std::get<I>(from)[i]...);
  } else {
    for (std::int64_t i = 0; i < length; ++i) {
      *reinterpret_cast<Out*>(pointers[0] + i * steps[0]) =
          f(*reinterpret_cast<const In*>(pointers[I + 1] + i * steps[I + 1])...);
    }
  }
}

/// out[i] = f(in[i]...). In... are the C++ element types of the inputs. Where all types are float,
/// all tensors may be bf16 instead.
template <class Out, class... In, class F, class... Inputs>
void elementwise(const Tensor& out, const F& f, const Inputs&... inputs) {
  static_assert(sizeof...(In) == sizeof...(Inputs));
  const RowFunction row = [](const void* functor, char* const* pointers, const std::int64_t* steps,
                             std::int64_t length) {
    functor_row<F, Out, In...>(*static_cast<const F*>(functor), pointers, steps, length,
                               std::index_sequence_for<In...>());
  };
  if constexpr ((std::is_same_v<Out, float> && ... && std::is_same_v<In, float>)) {
    if (out.dtype() == DType::bf16) return run_widened_rows(out, {inputs...}, row, &f);
  }
  run_rows(out, {inputs...}, row, &f);
}

}  // namespace invar::cpu
