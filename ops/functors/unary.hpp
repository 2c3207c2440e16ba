#pragma once
// The maths of one element, for CPU and GPU alike. T is float or double, and any number type for
// the functors marked kIntegers. `visit_unary` maps a UnaryOp to its functor.
#include <cmath>
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <invar/core/portable_math.hpp>
#include <invar/ops/functors/binary.hpp>
#include <invar/ops/functors/convert.hpp>
#include <invar/ops/kernels.hpp>
#include <type_traits>

namespace invar::functors {

// One line each: these are tables.
// clang-format off

struct Integers { static constexpr bool kIntegers = true; };
struct RealsOnly { static constexpr bool kIntegers = false; };

struct Neg : Integers { template <class T> INVAR_HD T operator()(T x) const { return static_cast<T>(-Wrapping<T>(x)); } };
struct Abs : Integers { template <class T> INVAR_HD T operator()(T x) const { return x < T(0) ? Neg()(x) : static_cast<T>(x + T(0)); } };
struct Sign : Integers { template <class T> INVAR_HD T operator()(T x) const { return x > T(0) ? T(1) : x < T(0) ? static_cast<T>(-1) : x; } };
struct Square : Integers { template <class T> INVAR_HD T operator()(T x) const { return Mul()(x, x); } };
struct AddScalar : Integers { double s; template <class T> INVAR_HD T operator()(T x) const { return Add()(x, convert<T>(s)); } };
struct MulScalar : Integers { double s; template <class T> INVAR_HD T operator()(T x) const { return Mul()(x, convert<T>(s)); } };
/// NaN stays NaN. The bounds lie around values of T; as doubles, large integers would not be exact.
struct Clamp : Integers {
  double low, high;
  template <class T> INVAR_HD T operator()(T x) const {
    if constexpr (std::is_same_v<T, std::int64_t>) {
      const T least = low <= -0x1p63 ? INT64_MIN : static_cast<T>(low);
      const T most = high >= 0x1p63 ? INT64_MAX : static_cast<T>(high);
      return x < least ? least : x > most ? most : x;
    } else {
      return static_cast<double>(x) < low ? static_cast<T>(low) : static_cast<double>(x) > high ? static_cast<T>(high) : x;
    }
  }
};

struct DivScalar : RealsOnly { double s; template <class T> INVAR_HD T operator()(T x) const { return x / static_cast<T>(s); } };
struct RdivScalar : RealsOnly { double s; template <class T> INVAR_HD T operator()(T x) const { return static_cast<T>(s) / x; } };
struct PowScalar : RealsOnly { double s; template <class T> INVAR_HD T operator()(T x) const { return std::pow(x, static_cast<T>(s)); } };
/// In f32 our own: the same bits on CPU and GPU, and loops of it become vector instructions.
struct Exp : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { if constexpr (std::is_same_v<T, float>) { return portable_exp(x); } else { return std::exp(x); } } };
struct Expm1 : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::expm1(x); } };
struct Log : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::log(x); } };
struct Log1p : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::log1p(x); } };
struct Sqrt : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::sqrt(x); } };
struct Rsqrt : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return T(1) / std::sqrt(x); } };
struct Reciprocal : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return T(1) / x; } };
struct Sin : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::sin(x); } };
struct Cos : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::cos(x); } };
struct Tanh : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::tanh(x); } };
struct Erf : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::erf(x); } };
/// 1 / (1 + e^-x), without overflow on either side.
struct Sigmoid : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { const T e = Exp()(-std::abs(x)); return x >= T(0) ? T(1) / (T(1) + e) : e / (T(1) + e); } };
/// max(x, 0); NaN stays NaN.
struct Relu : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return x < T(0) ? T(0) : x; } };
struct LeakyRelu : RealsOnly { double slope; template <class T> INVAR_HD T operator()(T x) const { return x > T(0) ? x : x * static_cast<T>(slope); } };
/// x Phi(x) = x/2 (1 + erf(x / sqrt 2)).
struct Gelu : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752440))); } };
/// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
struct GeluTanh : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x))); } };
struct Silu : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return x * Sigmoid()(x); } };
/// log(1 + e^(beta x)) / beta, and x itself where beta x > threshold.
struct Softplus : RealsOnly { double beta, threshold; template <class T> INVAR_HD T operator()(T x) const { const T z = x * static_cast<T>(beta); return z > static_cast<T>(threshold) ? x : std::log1p(Exp()(z)) / static_cast<T>(beta); } };
struct Floor : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::floor(x); } };
struct Ceil : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::ceil(x); } };
/// To nearest, ties to even.
struct Round : RealsOnly { template <class T> INVAR_HD T operator()(T x) const { return std::nearbyint(x); } };

/// Calls f with the functor of `op`.
template <class F>
void visit_unary(UnaryOp op, Params p, F&& f) {
  switch (op) {
    case UnaryOp::neg: return f(Neg{});
    case UnaryOp::abs: return f(Abs{});
    case UnaryOp::sign: return f(Sign{});
    case UnaryOp::square: return f(Square{});
    case UnaryOp::add_scalar: return f(AddScalar{{}, p[0]});
    case UnaryOp::mul_scalar: return f(MulScalar{{}, p[0]});
    case UnaryOp::clamp: return f(Clamp{{}, p[0], p[1]});
    case UnaryOp::div_scalar: return f(DivScalar{{}, p[0]});
    case UnaryOp::rdiv_scalar: return f(RdivScalar{{}, p[0]});
    case UnaryOp::pow_scalar: return f(PowScalar{{}, p[0]});
    case UnaryOp::exp: return f(Exp{});
    case UnaryOp::expm1: return f(Expm1{});
    case UnaryOp::log: return f(Log{});
    case UnaryOp::log1p: return f(Log1p{});
    case UnaryOp::sqrt: return f(Sqrt{});
    case UnaryOp::rsqrt: return f(Rsqrt{});
    case UnaryOp::reciprocal: return f(Reciprocal{});
    case UnaryOp::sin: return f(Sin{});
    case UnaryOp::cos: return f(Cos{});
    case UnaryOp::tanh: return f(Tanh{});
    case UnaryOp::erf: return f(Erf{});
    case UnaryOp::sigmoid: return f(Sigmoid{});
    case UnaryOp::relu: return f(Relu{});
    case UnaryOp::leaky_relu: return f(LeakyRelu{{}, p[0]});
    case UnaryOp::gelu: return f(Gelu{});
    case UnaryOp::gelu_tanh: return f(GeluTanh{});
    case UnaryOp::silu: return f(Silu{});
    case UnaryOp::softplus: return f(Softplus{{}, p[0], p[1]});
    case UnaryOp::floor: return f(Floor{});
    case UnaryOp::ceil: return f(Ceil{});
    case UnaryOp::round: return f(Round{});
  }
}

// clang-format on

}  // namespace invar::functors
