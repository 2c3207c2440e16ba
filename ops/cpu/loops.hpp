#pragma once
// Elementwise loops over strided, broadcasting operands:
//
//   elementwise<float>(out, [](float a, float b) { return a + b; }, a, b);
//
// Operands are broadcast to out's shape (stride 0), neighbouring dimensions that every operand
// walks through without a jump are merged, and what is left is a nest whose innermost loop is a
// plain strided loop: dense in the common case, where the compiler vectorises it.
#include <array>
#include <invar/core/tensor.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <type_traits>
#include <utility>

namespace invar::cpu {

/// Strides of `x` seen as a tensor of `shape`, which it broadcasts to.
inline Dims broadcast_strides(const Tensor& x, const Dims& shape) {
  Dims strides = Dims::filled(shape.size(), 0);
  const int lead = shape.size() - x.dim();
  for (int i = 0; i < x.dim(); ++i) {
    strides[lead + i] = x.shape()[i] == 1 ? 0 : x.strides()[i];
  }
  return strides;
}

/// A loop nest over N operands. The last dimension is the innermost; there is at least one.
template <std::size_t N>
struct LoopNest {
  Dims shape;
  std::array<Dims, N> strides;

  LoopNest(const Dims& full_shape, const std::array<Dims, N>& full_strides) {
    for (int d = 0; d < full_shape.size(); ++d) {
      if (full_shape[d] == 1) continue;
      if (!shape.empty() && merges(full_shape[d], full_strides, d)) {
        shape[shape.size() - 1] *= full_shape[d];
        for (std::size_t k = 0; k < N; ++k) strides[k][shape.size() - 1] = full_strides[k][d];
      } else {
        shape.push_back(full_shape[d]);
        for (std::size_t k = 0; k < N; ++k) strides[k].push_back(full_strides[k][d]);
      }
    }
    if (shape.empty()) {
      shape.push_back(1);
      for (std::size_t k = 0; k < N; ++k) strides[k].push_back(1);
    }
  }

  /// Calls row(offsets, length) for the innermost runs that cover elements [begin, end).
  template <class Row>
  void run(std::int64_t begin, std::int64_t end, const Row& row) const {
    const int last = shape.size() - 1;
    std::array<std::int64_t, kMaxDims> index{};
    std::array<std::int64_t, N> offsets{};
    for (std::int64_t rest = begin, d = last; d >= 0; --d) {
      index[d] = rest % shape[d];
      rest /= shape[d];
      for (std::size_t k = 0; k < N; ++k) offsets[k] += index[d] * strides[k][d];
    }
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t length = std::min(shape[last] - index[last], end - at);
      row(offsets, length);
      at += length;
      index[last] += length;
      for (std::size_t k = 0; k < N; ++k) offsets[k] += length * strides[k][last];
      for (int d = last; d > 0 && index[d] == shape[d]; --d) {
        index[d] = 0;
        ++index[d - 1];
        for (std::size_t k = 0; k < N; ++k) {
          offsets[k] += strides[k][d - 1] - shape[d] * strides[k][d];
        }
      }
    }
  }

 private:
  bool merges(std::int64_t size, const std::array<Dims, N>& full, int d) const {
    for (std::size_t k = 0; k < N; ++k) {
      if (strides[k][shape.size() - 1] != full[k][d] * size) return false;
    }
    return true;
  }
};

/// out[i] = f(in[i]...). In... are the C++ element types of the inputs.
template <class Out, class... In, class F, class... Inputs>
void elementwise(const Tensor& out, const F& f, const Inputs&... inputs) {
  static_assert(sizeof...(In) == sizeof...(Inputs));
  constexpr std::size_t kN = sizeof...(In) + 1;
  const std::int64_t n = out.numel();
  if (n == 0) return;
  const LoopNest<kN> nest(out.shape(), {broadcast_strides(out, out.shape()),
                                        broadcast_strides(inputs, out.shape())...});
  Out* const y = out.data<Out>();
  const auto x = std::make_tuple(inputs.template data<const In>()...);
  const int last = nest.shape.size() - 1;
  std::array<std::int64_t, kN> step;
  bool dense = true;
  for (std::size_t k = 0; k < kN; ++k) {
    step[k] = nest.strides[k][last];
    dense &= step[k] == 1;
  }
  const auto piece = [&]<std::size_t... I>(std::int64_t begin, std::int64_t end,
                                           std::index_sequence<I...>) {
    nest.run(begin, end, [&](const std::array<std::int64_t, kN>& at, std::int64_t length) {
      Out* const to = y + at[0];
      const std::tuple<const In*...> from{(std::get<I>(x) + at[I + 1])...};
      if (dense) {
        for (std::int64_t i = 0; i < length; ++i) to[i] = f(std::get<I>(from)[i]...);
      } else {
        for (std::int64_t i = 0; i < length; ++i) {
          to[i * step[0]] = f(std::get<I>(from)[i * step[I + 1]]...);
        }
      }
    });
  };
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    piece(begin, end, std::index_sequence_for<In...>());
  });
}

}  // namespace invar::cpu
