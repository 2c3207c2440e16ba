#pragma once
// Division of whole numbers that rounds up, for n >= 0 and size > 0.
#include <invar/core/host_device.hpp>
#include <type_traits>

namespace invar {

/// n / size, rounded up: how many pieces of this size cover n.
template <class T>
INVAR_HD constexpr T ceil_div(T n, std::type_identity_t<T> size) {
  return (n + size - 1) / size;
}

/// The smallest multiple of `size` that is not below n.
template <class T>
INVAR_HD constexpr T round_up(T n, std::type_identity_t<T> size) {
  return ceil_div(n, size) * size;
}

}  // namespace invar
