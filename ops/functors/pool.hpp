#pragma once
// Which elements a pooling window covers, in one image dimension, for CPU and GPU alike.
#include <cstdint>
#include <invar/core/host_device.hpp>

namespace invar::functors {

/// Elements begin ... end - 1 of the image; `divisor` is what an average divides by.
struct PoolSpan {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t divisor;
};

/// The windows along one dimension. One of
///   sliding    `kernel` elements, `stride` apart, the first one beginning at -padding
///   adaptive   window i is [floor(i size / count), ceil((i + 1) size / count))
struct PoolWindows {
  std::int64_t size;   ///< of the image
  std::int64_t count;  ///< of windows
  std::int64_t kernel = 0, stride = 0, padding = 0;
  bool count_include_pad = false;  ///< the divisor counts padding too (but nothing beyond it)
  bool adaptive = false;

  INVAR_HD PoolSpan operator()(std::int64_t i) const {
    if (adaptive) {
      const std::int64_t begin = i * size / count, end = ((i + 1) * size + count - 1) / count;
      return {begin, end, end - begin};
    }
    const std::int64_t from = i * stride - padding, to = from + kernel;
    const std::int64_t begin = from < 0 ? 0 : from, end = to < size ? to : size;
    const std::int64_t padded_end = to < size + padding ? to : size + padding;
    return {begin, end, count_include_pad ? padded_end - from : end - begin};
  }
};

}  // namespace invar::functors
