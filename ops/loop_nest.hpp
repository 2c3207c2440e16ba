#pragma once
// How elementwise work walks over strided, broadcasting operands: what the loops of the CPU
// (cpu/loops.hpp) and the launches of the GPU (cuda/elementwise.cuh) have in common.
#include <algorithm>
#include <array>
#include <cstdint>
#include <invar/core/tensor.hpp>

namespace invar {

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

}  // namespace invar
