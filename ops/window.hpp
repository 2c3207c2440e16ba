#pragma once
// The geometry that convolution and pooling share: a window slides over an image.
#include <algorithm>
#include <cstdint>
#include <invar/core/shape.hpp>
#include <string_view>

namespace invar {

/// A number for each image dimension; one number stands for both: `{.stride = 2}`.
struct Size2 {
  std::int64_t height;
  std::int64_t width;

  constexpr Size2(std::int64_t both) : height(both), width(both) {}
  constexpr Size2(std::int64_t height, std::int64_t width) : height(height), width(width) {}
  bool operator==(const Size2&) const = default;
};

/// Error naming `op` unless both numbers of `what` are in [least, 2^31).
inline void check_size(std::string_view op, std::string_view what, Size2 size, std::int64_t least) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  check(std::min(size.height, size.width) >= least && std::max(size.height, size.width) < kLimit,
        op, "expected {} of at least {} (and below 2^31), got {}x{}", what, least, size.height,
        size.width);
}

/// How many windows of (kernel - 1) dilation + 1 elements fit into n elements with `padding` on
/// both sides, `stride` apart; 0 or less if none does.
inline std::int64_t window_count(std::int64_t n, std::int64_t kernel, std::int64_t stride,
                                 std::int64_t padding, std::int64_t dilation) {
  const std::int64_t room = n + 2 * padding - (kernel - 1) * dilation - 1;
  return room < 0 ? 0 : room / stride + 1;
}

}  // namespace invar
