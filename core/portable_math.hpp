#pragma once
// Logarithm, exponential and sine/cosine whose bits are the same on every machine.
//
// libm and CUDA's maths library differ in the last bits, so random normals built on them would
// differ between CPU and GPU. These functions use only operations that IEEE 754 rounds correctly
// (+ - * / and explicit fma) and integers. No product is the operand of a plain + or -, so a
// compiler that contracts a * b + c into an fma finds nothing here to change.
//
// The polynomials are Taylor series: their coefficients can be checked by eye, and one or two
// terms more than a minimax fit would need cost little. Errors, as measured by the tests: below
// 2 units in the last place for log, below 1 for exp, below 2.5 for sin and cos.
#include <bit>
#include <cmath>
#include <cstdint>
#include <invar/core/host_device.hpp>

namespace invar {

/// Sine and cosine of one angle.
template <typename T>
struct SinCos {
  T sin;
  T cos;
};

namespace detail {

/// Splits a normal x > 0 into mantissa * 2^exponent with mantissa in [sqrt(1/2), sqrt(2)).
///
/// Integer arithmetic on the bit pattern: subtracting the pattern of sqrt(1/2) makes the exponent
/// field change exactly where the mantissa passes sqrt(1/2), so no branch is needed.
template <typename T>
struct Split {
  T mantissa;
  T exponent;
};

INVAR_HD inline Split<float> split(float x) {
  constexpr uint32_t kSqrtHalf = 0x3f3504f3u;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const int32_t exponent = static_cast<int32_t>(bits - kSqrtHalf) >> 23;
  return {std::bit_cast<float>(bits - (static_cast<uint32_t>(exponent) << 23)),
          static_cast<float>(exponent)};
}

INVAR_HD inline Split<double> split(double x) {
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdull;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const int64_t exponent = static_cast<int64_t>(bits - kSqrtHalf) >> 52;
  return {std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52)),
          static_cast<double>(exponent)};
}

/// sum over k = 0 .. K-1 of z^k / (2k + 3), the tail of atanh(s)/s - 1 = z * (1/3 + z/5 + ...).
INVAR_HD inline float atanh_tail(float z) {
  float p = 1.0f / 13.0f;
  p = std::fma(p, z, 1.0f / 11.0f);
  p = std::fma(p, z, 1.0f / 9.0f);
  p = std::fma(p, z, 1.0f / 7.0f);
  p = std::fma(p, z, 1.0f / 5.0f);
  return std::fma(p, z, 1.0f / 3.0f);
}

INVAR_HD inline double atanh_tail(double z) {
  double p = 1.0 / 23.0;
  p = std::fma(p, z, 1.0 / 21.0);
  p = std::fma(p, z, 1.0 / 19.0);
  p = std::fma(p, z, 1.0 / 17.0);
  p = std::fma(p, z, 1.0 / 15.0);
  p = std::fma(p, z, 1.0 / 13.0);
  p = std::fma(p, z, 1.0 / 11.0);
  p = std::fma(p, z, 1.0 / 9.0);
  p = std::fma(p, z, 1.0 / 7.0);
  p = std::fma(p, z, 1.0 / 5.0);
  return std::fma(p, z, 1.0 / 3.0);
}

/// ln 2 = high + low, where high has enough trailing zeros for exponent * high to be exact.
struct Ln2Float {
  static constexpr float kHigh = 0x1.62e4p-1f;
  static constexpr float kLow = 0x1.7f7d1cp-20f;
};
struct Ln2Double {
  static constexpr double kHigh = 0x1.62e42fefa38p-1;
  static constexpr double kLow = 0x1.ef35793c7673p-45;
};

/// 2^n of a normal number; n may be negative, modulo 2^32.
INVAR_HD inline float power_of_two(uint32_t n) { return std::bit_cast<float>((n + 127u) << 23); }

/// sin(y) and cos(y) for |y| <= pi/4.
INVAR_HD inline SinCos<float> sincos_octant(float y) {
  const float z = y * y;
  float s = 1.0f / 362880.0f;
  s = std::fma(s, z, -1.0f / 5040.0f);
  s = std::fma(s, z, 1.0f / 120.0f);
  s = std::fma(s, z, -1.0f / 6.0f);
  float c = -1.0f / 3628800.0f;
  c = std::fma(c, z, 1.0f / 40320.0f);
  c = std::fma(c, z, -1.0f / 720.0f);
  c = std::fma(c, z, 1.0f / 24.0f);
  c = std::fma(c, z, -0.5f);
  return {std::fma(z * y, s, y), std::fma(c, z, 1.0f)};
}

INVAR_HD inline SinCos<double> sincos_octant(double y) {
  const double z = y * y;
  double s = 1.0 / 355687428096000.0;
  s = std::fma(s, z, -1.0 / 1307674368000.0);
  s = std::fma(s, z, 1.0 / 6227020800.0);
  s = std::fma(s, z, -1.0 / 39916800.0);
  s = std::fma(s, z, 1.0 / 362880.0);
  s = std::fma(s, z, -1.0 / 5040.0);
  s = std::fma(s, z, 1.0 / 120.0);
  s = std::fma(s, z, -1.0 / 6.0);
  double c = -1.0 / 6402373705728000.0;
  c = std::fma(c, z, 1.0 / 20922789888000.0);
  c = std::fma(c, z, -1.0 / 87178291200.0);
  c = std::fma(c, z, 1.0 / 479001600.0);
  c = std::fma(c, z, -1.0 / 3628800.0);
  c = std::fma(c, z, 1.0 / 40320.0);
  c = std::fma(c, z, -1.0 / 720.0);
  c = std::fma(c, z, 1.0 / 24.0);
  c = std::fma(c, z, -0.5);
  return {std::fma(z * y, s, y), std::fma(c, z, 1.0)};
}

/// Turns sin and cos of the angle within its quadrant into those of the full angle.
template <typename T>
INVAR_HD SinCos<T> rotate(SinCos<T> v, unsigned quadrant) {
  switch (quadrant & 3u) {
    case 0:
      return v;
    case 1:
      return {v.cos, -v.sin};
    case 2:
      return {-v.sin, -v.cos};
    default:
      return {-v.cos, v.sin};
  }
}

}  // namespace detail

/// ln(x) for a normal x > 0; other arguments give an unspecified number.
///
/// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1):
/// ln(x) = e ln 2 + 2 atanh(s), atanh(s) = s + s^3/3 + s^5/5 + ..., |s| < 0.172.
template <typename T>
INVAR_HD T portable_log(T x) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const detail::Split<T> v = detail::split(x);
  const T s = (v.mantissa - T(1)) / (v.mantissa + T(1));
  const T z = s * s;
  const T log_mantissa = T(2) * std::fma(s * z, detail::atanh_tail(z), s);
  if constexpr (sizeof(T) == 4) {
    return std::fma(v.exponent, detail::Ln2Float::kHigh,
                    std::fma(v.exponent, detail::Ln2Float::kLow, log_mantissa));
  } else {
    return std::fma(v.exponent, detail::Ln2Double::kHigh,
                    std::fma(v.exponent, detail::Ln2Double::kLow, log_mantissa));
  }
}

/// e^x for any x.
///
/// x = n ln 2 + r with |r| <= ln(2) / 2, and e^x = 2^n e^r. The power is two factors: 2^n may be
/// out of range where e^x is not, and a result below the smallest normal number is rounded once.
INVAR_HD inline float portable_exp(float x) {
  constexpr float kLog2E = 1.44269504088896340736f;
  constexpr float kIntegers = 0x1.8p+23f;  // numbers from here on have no fraction
  // Beyond these limits the result is 0 or infinity. NaN is neither smaller nor larger.
  const float limited = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const float shifted = std::fma(limited, kLog2E, kIntegers);
  const float n = shifted - kIntegers;
  const float r =
      std::fma(n, -detail::Ln2Float::kLow, std::fma(n, -detail::Ln2Float::kHigh, limited));
  float p = 1.0f / 5040.0f;
  p = std::fma(p, r, 1.0f / 720.0f);
  p = std::fma(p, r, 1.0f / 120.0f);
  p = std::fma(p, r, 1.0f / 24.0f);
  p = std::fma(p, r, 1.0f / 6.0f);
  p = std::fma(p, r, 0.5f);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kIntegers);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  return p * detail::power_of_two(half) * detail::power_of_two(exponent - half);
}

/// sin and cos of 2 pi * turn / 2^32. Quadrant and remainder are exact because the angle is an
/// integer; no range reduction with a long pi is needed.
INVAR_HD inline SinCos<float> portable_sincos(uint32_t turn) {
  constexpr float kTwoPi = 6.28318530717958647692f;
  const uint32_t quadrant = (turn + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(turn - (quadrant << 30));  // [-2^29, 2^29)
  const float y = static_cast<float>(rest) * 0x1p-32f * kTwoPi;
  return detail::rotate(detail::sincos_octant(y), quadrant);
}

/// sin and cos of 2 pi * turn / 2^64.
INVAR_HD inline SinCos<double> portable_sincos(uint64_t turn) {
  constexpr double kTwoPi = 6.28318530717958647692;
  const uint64_t quadrant = (turn + 0x2000000000000000ull) >> 62;
  const int64_t rest = static_cast<int64_t>(turn - (quadrant << 62));
  const double y = static_cast<double>(rest) * 0x1p-64 * kTwoPi;
  return detail::rotate(detail::sincos_octant(y), static_cast<unsigned>(quadrant));
}

}  // namespace invar
