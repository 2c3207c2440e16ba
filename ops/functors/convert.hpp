#pragma once
// Conversion between any two element types, and the type that integers are computed in, for CPU and
// GPU alike.
#include <cstdint>
#include <invar/core/bfloat16.hpp>
#include <invar/core/host_device.hpp>
#include <type_traits>

namespace invar::functors {

/// Sums and products of T are made in Wrapping<T>: without a sign for integers, which wrap around
/// in two's complement then, where signed ones that overflow are undefined in C++.
template <class T, bool = std::is_integral_v<T> && !std::is_same_v<T, bool>>
struct WrappingOf {
  using Type = T;
};
template <class T>
struct WrappingOf<T, true> {
  using Type = std::make_unsigned_t<T>;
};
template <class T>
using Wrapping = typename WrappingOf<T>::Type;

/// Boolean: x != 0. Real to integer: truncated; a value outside a narrower integer wraps. bf16 goes
/// through f32.
template <class Out, class In>
INVAR_HD Out convert(In x) {
  if constexpr (std::is_same_v<Out, In>) {
    return x;
  } else if constexpr (std::is_same_v<In, BFloat16>) {
    return convert<Out>(static_cast<float>(x));
  } else if constexpr (std::is_same_v<Out, bool>) {
    return x != In(0);
  } else if constexpr (std::is_integral_v<Out> && std::is_floating_point_v<In>) {
    return static_cast<Out>(static_cast<std::int64_t>(x));
  } else {
    return static_cast<Out>(x);
  }
}

}  // namespace invar::functors
