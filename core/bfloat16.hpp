#pragma once
// BFloat16: the upper half of an IEEE f32 (8 exponent bits, 7 mantissa bits). A storage type:
// arithmetic converts to f32, computes there and rounds back to nearest even.
#include <bit>
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <type_traits>

namespace invar {

struct BFloat16 {
  std::uint16_t bits = 0;

  BFloat16() = default;
  template <class T>
  requires std::is_arithmetic_v<T> INVAR_HD explicit BFloat16(T value)
      : bits(round_to_bits(static_cast<float>(value))) {}
  INVAR_HD operator float() const { return float_of(std::uint32_t{bits} << 16); }

 private:
  INVAR_HD static std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
  INVAR_HD static float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

  /// Round to nearest, ties to even; every NaN stays a (quiet) NaN.
  INVAR_HD static std::uint16_t round_to_bits(float value) {
    const std::uint32_t u = bits_of(value);
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const std::uint32_t quiet_nan = (u >> 16) | 0x40u;
    return static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
  }
};
static_assert(sizeof(BFloat16) == 2);

}  // namespace invar
