#pragma once
// Element types: their names, sizes, promotion, and `visit`, the one bridge from a run-time DType
// to a compile-time C++ type.
//
//   DType      f32    f64     bf16      i64      i32      u8       boolean
//   C++ type   float  double  BFloat16  int64_t  int32_t  uint8_t  bool
#include <cstddef>
#include <cstdint>
#include <invar/core/bfloat16.hpp>
#include <invar/core/error.hpp>
#include <string_view>

namespace invar {

enum class DType : std::uint8_t { f32, f64, bf16, i64, i32, u8, boolean };

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::f64:
      return 8;
    case DType::bf16:
      return 2;
    case DType::i64:
      return 8;
    case DType::i32:
      return 4;
    case DType::u8:
      return 1;
    case DType::boolean:
      return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
    case DType::boolean:
      return "bool";
  }
  return "?";
}

/// True iff the type can carry a gradient.
constexpr bool is_floating(DType d) {
  return d == DType::f32 || d == DType::f64 || d == DType::bf16;
}

/// The type that arithmetic on elements of `d` is done in: bf16 is a way to store them.
constexpr DType computed_in(DType d) { return d == DType::bf16 ? DType::f32 : d; }

/// The type two operands meet in. Floating beats integer beats boolean; within a category the wider
/// wins; u8 meets a signed integer in that integer. For numbers of C++ see ops/elementwise.hpp.
///
///          f64  f32  bf16 i64  i32  u8   bool
///   f64    f64  f64  f64  f64  f64  f64  f64
///   f32    f64  f32  f32  f32  f32  f32  f32
///   bf16   f64  f32  bf16 bf16 bf16 bf16 bf16
///   i64    f64  f32  bf16 i64  i64  i64  i64
///   i32    f64  f32  bf16 i64  i32  i32  i32
///   u8     f64  f32  bf16 i64  i32  u8   u8
///   bool   f64  f32  bf16 i64  i32  u8   bool
constexpr DType promote(DType a, DType b) {
  constexpr DType kWidestFirst[] = {DType::f64, DType::f32, DType::bf16,   DType::i64,
                                    DType::i32, DType::u8,  DType::boolean};
  for (DType d : kWidestFirst) {
    if (a == d || b == d) return d;
  }
  return a;
}

/// The DType of a C++ type: dtype_of<float> == DType::f32.
template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "no DType has this C++ type");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<bool> = DType::boolean;

/// Calls f.operator()<T>() with the C++ type of `dtype`.
template <class F>
decltype(auto) visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::bf16:
      return f.template operator()<BFloat16>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::i32:
      return f.template operator()<std::int32_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    case DType::boolean:
      return f.template operator()<bool>();
  }
  fail_internal("dtype", "unknown DType");
}

/// Throws unless is_floating(dtype).
inline void check_floating(std::string_view op, DType dtype) {
  check(is_floating(dtype), op, "expected a floating dtype, got {}: convert it with to()",
        name_of(dtype));
}

/// Throws unless `dtype` is f32 or f64.
inline void check_real(std::string_view op, DType dtype) {
  check(dtype == DType::f32 || dtype == DType::f64, op,
        "expected dtype f32 or f64, got {}: convert it with to(x, DType::f32)", name_of(dtype));
}

/// Like visit, for kernels that exist for f32 and f64 only; `op` is named in the error.
template <class F>
decltype(auto) visit_real(DType dtype, std::string_view op, F&& f) {
  check_real(op, dtype);
  if (dtype == DType::f32) return f.template operator()<float>();
  return f.template operator()<double>();
}

/// Like visit, for kernels over real and integer numbers (f32, f64, i64, i32, u8).
template <class F>
decltype(auto) visit_number(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::i32:
      return f.template operator()<std::int32_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    default:
      fail(op, "expected dtype f32, f64, i64, i32 or u8, got {}: convert it with to(x, dtype)",
           name_of(dtype));
  }
}

}  // namespace invar

template <>
struct fmt::formatter<invar::DType> : fmt::formatter<std::string_view> {
  auto format(invar::DType d, fmt::format_context& ctx) const {
    return fmt::formatter<std::string_view>::format(invar::name_of(d), ctx);
  }
};
