#pragma once
// Conversion between any two element types, for CPU and GPU alike.
#include <cstdint>
#include <invar/core/bfloat16.hpp>
#include <invar/core/host_device.hpp>
#include <type_traits>

namespace invar::functors {

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
