#pragma once
// The maths of two elements, for CPU and GPU alike; T is any number type.
#include <cmath>
#include <invar/core/host_device.hpp>
#include <invar/ops/functors/convert.hpp>
#include <invar/ops/kernels.hpp>
#include <type_traits>

namespace invar::functors {

template <class T>
INVAR_HD T integer_power(T base, T exponent) {
  if constexpr (std::is_signed_v<T>) {
    if (exponent < 0) return base == 1 ? T(1) : base == -1 ? T(exponent % 2 == 0 ? 1 : -1) : T(0);
  }
  Wrapping<T> power = 1, square = Wrapping<T>(base);
  for (auto left = Wrapping<T>(exponent); left > 0; left >>= 1) {
    if (left & 1) power *= square;
    square *= square;
  }
  return static_cast<T>(power);
}

// One line each: these are tables.
// clang-format off

struct Add { template <class T> INVAR_HD T operator()(T a, T b) const { return static_cast<T>(Wrapping<T>(a) + Wrapping<T>(b)); } };
struct Sub { template <class T> INVAR_HD T operator()(T a, T b) const { return static_cast<T>(Wrapping<T>(a) - Wrapping<T>(b)); } };
struct Mul { template <class T> INVAR_HD T operator()(T a, T b) const { return static_cast<T>(Wrapping<T>(a) * Wrapping<T>(b)); } };
/// Reals only: integers are promoted to f32 before they are divided.
struct Div { template <class T> INVAR_HD T operator()(T a, T b) const { if constexpr (std::is_floating_point_v<T>) { return a / b; } else { return T(0); } } };
/// Of integers by squaring; 1 / a^|b| truncated for b < 0, and 0 where a is 0, too.
struct Pow { template <class T> INVAR_HD T operator()(T a, T b) const { if constexpr (std::is_floating_point_v<T>) { return std::pow(a, b); } else { return integer_power(a, b); } } };
/// A NaN on either side wins.
struct Maximum { template <class T> INVAR_HD T operator()(T a, T b) const { return a > b || a != a ? a : b; } };
struct Minimum { template <class T> INVAR_HD T operator()(T a, T b) const { return a < b || a != a ? a : b; } };
/// 0 where y <= 0, else g: the gradient of relu from its output y. A NaN goes on.
struct ReluBackward { template <class T> INVAR_HD T operator()(T g, T y) const { return y <= T(0) ? T(0) : g; } };

struct Eq { template <class T> INVAR_HD bool operator()(T a, T b) const { return a == b; } };
struct Ne { template <class T> INVAR_HD bool operator()(T a, T b) const { return a != b; } };
struct Lt { template <class T> INVAR_HD bool operator()(T a, T b) const { return a < b; } };
struct Le { template <class T> INVAR_HD bool operator()(T a, T b) const { return a <= b; } };
struct Gt { template <class T> INVAR_HD bool operator()(T a, T b) const { return a > b; } };
struct Ge { template <class T> INVAR_HD bool operator()(T a, T b) const { return a >= b; } };

template <class F>
void visit_binary(BinaryOp op, F&& f) {
  switch (op) {
    case BinaryOp::add: return f(Add{});
    case BinaryOp::sub: return f(Sub{});
    case BinaryOp::mul: return f(Mul{});
    case BinaryOp::div: return f(Div{});
    case BinaryOp::pow: return f(Pow{});
    case BinaryOp::maximum: return f(Maximum{});
    case BinaryOp::minimum: return f(Minimum{});
    case BinaryOp::relu_backward: return f(ReluBackward{});
  }
}

template <class F>
void visit_compare(CompareOp op, F&& f) {
  switch (op) {
    case CompareOp::eq: return f(Eq{});
    case CompareOp::ne: return f(Ne{});
    case CompareOp::lt: return f(Lt{});
    case CompareOp::le: return f(Le{});
    case CompareOp::gt: return f(Gt{});
    case CompareOp::ge: return f(Ge{});
  }
}

// clang-format on

}  // namespace invar::functors
