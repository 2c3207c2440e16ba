#pragma once
// Where the elements of strided tensors lie, for CPU and GPU alike: a LoopNest for whoever is given
// the number of an element rather than a run of them.
#include <invar/core/host_device.hpp>
#include <invar/ops/loop_nest.hpp>

namespace invar::functors {

/// N tensors that are walked together, in row-major order.
template <int N>
struct Strided {
  std::int64_t count;  ///< of elements
  int dims;
  std::int64_t shape[kMaxDims];
  std::int64_t strides[N][kMaxDims];  ///< in elements

  /// The offsets of element i.
  INVAR_HD void locate(std::int64_t i, std::int64_t (&offsets)[N]) const {
    for (int k = 0; k < N; ++k) offsets[k] = 0;
    const bool narrow = count < (std::int64_t{1} << 31);  // a division of 64 bits is slow on a GPU
    for (int d = dims - 1; d > 0; --d) {
      const std::int64_t n = shape[d];
      const std::int64_t next =
          narrow ? static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(n) : i / n;
      for (int k = 0; k < N; ++k) offsets[k] += (i - next * n) * strides[k][d];
      i = next;
    }
    for (int k = 0; k < N; ++k) offsets[k] += i * strides[k][0];
  }

  /// The offset of element i if there is one tensor.
  INVAR_HD std::int64_t at(std::int64_t i) const {
    static_assert(N == 1);
    std::int64_t offsets[1];
    locate(i, offsets);
    return offsets[0];
  }
};

template <std::size_t N>
Strided<static_cast<int>(N)> strided(const Dims& shape, const std::array<Dims, N>& strides) {
  const LoopNest<N> nest(shape, strides);
  Strided<static_cast<int>(N)> made{};
  made.count = numel_of(shape);
  made.dims = nest.shape.size();
  for (int d = 0; d < made.dims; ++d) {
    made.shape[d] = nest.shape[d];
    for (std::size_t k = 0; k < N; ++k) made.strides[k][d] = nest.strides[k][d];
  }
  return made;
}

/// `dims` without one of them; of a scalar, which has none, all.
inline Dims without(Dims dims, int dim) {
  if (!dims.empty()) dims.erase(dim);
  return dims;
}

/// `strides` with 0 in one dimension: an index takes the place of the coordinate there.
inline Dims with_zero(Dims strides, int dim) {
  strides[dim] = 0;
  return strides;
}

}  // namespace invar::functors
