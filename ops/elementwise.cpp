#include <cmath>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/in_place.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/reduce.hpp>
#include <numbers>

namespace invar {
namespace {

void check_numbers(std::string_view name, const Tensor& x) {
  check(
      x.dtype() != DType::boolean, name,
      "expected numbers, got bool: use logical_and, logical_or or logical_not, or convert it with "
      "to(x, DType::i64)");
}

Tensor unary(UnaryOp op, std::string_view name, const Tensor& x, Params params = {}) {
  check_numbers(name, x);
  Tensor out = empty(x.shape(), x.options());
  kernel(&Kernels::unary, x.device(), name)(op, params, x, out);
  return out;
}

/// True iff s is an integer of 64 bits, from which narrower ones wrap around.
bool is_integer(double s) { return std::abs(s) < 0x1p63 && s == std::floor(s); }

/// A tensor whose dtype can hold what `x op s` gives.
Tensor for_scalar(const Tensor& x, double s) {
  const bool fits = is_floating(x.dtype()) || (is_integer(s) && x.dtype() != DType::boolean);
  return fits ? x : to(x, DType::f32);
}

/// True iff s is among the values of an integer dtype.
bool is_value_of(DType dtype, double s) {
  const auto [low, high] = range_of(dtype);
  return s == std::floor(s) && s >= low && s <= high;
}

/// Throws Error for bounds that are not in order, or between which an integer dtype has no value.
void check_bounds(const char* name, DType dtype, double low, double high) {
  check(low <= high, name, "expected low <= high, got {} and {}", low, high);
  if (is_floating(dtype)) return;
  const auto [least, most] = range_of(dtype);
  check(low <= most && high >= least, name, "expected bounds around values of {}, got {} and {}",
        dtype, low, high);
}

bool is_whole(double s) { return std::isinf(s) || s == std::floor(s); }

struct Operands {
  Tensor a, b;
  Dims shape;
};

/// The operands in their common dtype, and the shape of the result.
Operands meet(std::string_view name, const Tensor& a, const Tensor& b, bool real = false) {
  common_device(name, {a, b});
  DType dtype = a.dtype();
  if (b.dtype() != dtype) dtype = promote(dtype, b.dtype());
  if (real && !is_floating(dtype)) dtype = DType::f32;
  return {a.dtype() == dtype ? a : to(a, dtype), b.dtype() == dtype ? b : to(b, dtype),
          broadcast_shapes(a.shape(), b.shape(), name)};
}

Tensor binary(BinaryOp op, std::string_view name, const Operands& in) {
  check_numbers(name, in.a);
  Tensor out = empty(in.shape, in.a.options());
  kernel(&Kernels::binary, in.a.device(), name)(op, in.a, in.b, out);
  return out;
}

Tensor compare(CompareOp op, std::string_view name, const Tensor& a, const Tensor& b) {
  const Operands in = meet(name, a, b);
  Tensor out = empty(in.shape, {.dtype = DType::boolean, .device = a.device()});
  kernel(&Kernels::compare, a.device(), name)(op, in.a, in.b, out);
  return out;
}

Tensor compare(CompareOp op, std::string_view name, const Tensor& a, double b) {
  // u8 < 300 must not become u8 < 44.
  const bool fits = is_floating(a.dtype()) || is_value_of(a.dtype(), b);
  const Tensor x = fits ? a : to(a, DType::f64);
  return compare(op, name, x, full({}, b, x.options()));
}

Tensor as_boolean(const char* name, const Tensor& x) {
  check(x.dtype() == DType::boolean, name, "expected dtype bool, got {}: compare first (ne(x, 0))",
        x.dtype());
  return x;
}

/// A function whose derivative is zero wherever it exists.
Tensor piecewise_constant(UnaryOp op, const char* name, const Tensor& x) {
  if (!is_floating(x.dtype()) && op != UnaryOp::sign) return clone(x);  // whole already
  return record(name, {x}, unary(op, name, x),
                [](const Tensor& g) -> Tensors { return {zeros_like(g)}; });
}

}  // namespace

// d(a + b) = da + db
Tensor add(const Tensor& a, const Tensor& b) {
  const Operands in = meet("add", a, b);
  return record("add", {in.a, in.b}, binary(BinaryOp::add, "add", in),
                [sa = in.a.shape(), sb = in.b.shape()](const Tensor& g, Needs needs) -> Tensors {
                  return {needs[0] ? sum_to(g, sa) : Tensor(), needs[1] ? sum_to(g, sb) : Tensor()};
                });
}

// d(a - b) = da - db
Tensor sub(const Tensor& a, const Tensor& b) {
  const Operands in = meet("sub", a, b);
  return record(
      "sub", {in.a, in.b}, binary(BinaryOp::sub, "sub", in),
      [sa = in.a.shape(), sb = in.b.shape()](const Tensor& g, Needs needs) -> Tensors {
        return {needs[0] ? sum_to(g, sa) : Tensor(), needs[1] ? sum_to(-g, sb) : Tensor()};
      });
}

// d(a b) = b da + a db
Tensor mul(const Tensor& a, const Tensor& b) {
  const Operands in = meet("mul", a, b);
  return record("mul", {in.a, in.b}, binary(BinaryOp::mul, "mul", in),
                [a = SavedTensor::when(in.b.requires_grad(), in.a),
                 b = SavedTensor::when(in.a.requires_grad(), in.b), sa = in.a.shape(),
                 sb = in.b.shape()](const Tensor& g, Needs needs) -> Tensors {
                  return {needs[0] ? sum_to(g * b.get(), sa) : Tensor(),
                          needs[1] ? sum_to(g * a.get(), sb) : Tensor()};
                });
}

// d(a / b) = da / b - a / b^2 db
Tensor div(const Tensor& a, const Tensor& b) {
  const Operands in = meet("div", a, b, /*real=*/true);
  Tensor y = binary(BinaryOp::div, "div", in);
  const SavedTensor saved_y = in.b.requires_grad() ? SavedTensor::output(y) : SavedTensor();
  return record("div", {in.a, in.b}, y,
                [y = saved_y, b = SavedTensor(in.b), sa = in.a.shape(), sb = in.b.shape()](
                    const Tensor& g, Needs needs) -> Tensors {
                  const Tensor scaled = g / b.get();
                  return {needs[0] ? sum_to(scaled, sa) : Tensor(),
                          needs[1] ? sum_to(-(scaled * y.get()), sb) : Tensor()};
                });
}

namespace {

Tensor shifted(const char* name, const Tensor& a, double s) {
  const Tensor x = for_scalar(a, s);
  return record(name, {x}, unary(UnaryOp::add_scalar, name, x, {s}),
                [](const Tensor& g) -> Tensors { return {g}; });
}

}  // namespace

Tensor add(const Tensor& a, double s) { return shifted("add", a, s); }
Tensor sub(const Tensor& a, double s) { return shifted("sub", a, -s); }

Tensor mul(const Tensor& a, double s) {
  const Tensor x = for_scalar(a, s);
  return record("mul", {x}, unary(UnaryOp::mul_scalar, "mul", x, {s}),
                [s](const Tensor& g) -> Tensors { return {g * s}; });
}

Tensor div(const Tensor& a, double s) {
  const Tensor x = as_floating(a);
  return record("div", {x}, unary(UnaryOp::div_scalar, "div", x, {s}),
                [s](const Tensor& g) -> Tensors { return {g / s}; });
}

Tensor sub(double s, const Tensor& b) { return shifted("sub", neg(for_scalar(b, s)), s); }

// d(s / x) = -s / x^2 dx
Tensor div(double s, const Tensor& b) {
  const Tensor x = as_floating(b);
  Tensor y = unary(UnaryOp::rdiv_scalar, "div", x, {s});
  return record("div", {x}, y,
                [x = SavedTensor(x), y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
                  return {-(g * y.get() / x.get())};
                });
}

Tensor neg(const Tensor& x) {
  return record("neg", {x}, unary(UnaryOp::neg, "neg", x),
                [](const Tensor& g) -> Tensors { return {-g}; });
}

// d(a^b) = b a^(b-1) da + a^b log(a) db
Tensor pow(const Tensor& a, const Tensor& b) {
  const Operands in = meet("pow", a, b);
  Tensor y = binary(BinaryOp::pow, "pow", in);
  return record("pow", {in.a, in.b}, y,
                [a = SavedTensor(in.a), b = SavedTensor(in.b), y = SavedTensor::output(y)](
                    const Tensor& g, Needs needs) -> Tensors {
                  const Tensor base = a.get(), exponent = b.get();
                  Tensor da, db;
                  if (needs[0]) {
                    // b = 0: the power is constant, though a^(b-1) may be infinite.
                    const Tensor known = logical_or(ne(exponent, 0), isfinite(1.0 / base));
                    const Tensor safe = where(known, base, 1);
                    da = sum_to(g * (exponent * pow(safe, exponent - 1)), base.shape());
                  }
                  if (needs[1]) {
                    const Tensor flat = logical_and(eq(base, 0), ge(exponent, 0));
                    const Tensor safe = where(logical_not(flat), base, 1);
                    db = sum_to(where(logical_not(flat), g * y.get() * log(safe), 0),
                                exponent.shape());
                  }
                  return {da, db};
                });
}

// d(a^s) = s a^(s-1) da
Tensor pow(const Tensor& a, double s) {
  const bool of_integers = !is_floating(a.dtype()) && a.dtype() != DType::boolean;
  if (of_integers && s >= 0 && is_value_of(a.dtype(), s)) return pow(a, full({}, s, a.options()));
  const Tensor x = as_floating(a);
  if (s == 2) return square(x);
  return record("pow", {x}, unary(UnaryOp::pow_scalar, "pow", x, {s}),
                [x = SavedTensor(x), s](const Tensor& g) -> Tensors {
                  if (s == 0) return {zeros_like(g)};
                  return {g * (pow(x.get(), s - 1) * s)};
                });
}

// d(x^2) = 2 x dx
Tensor square(const Tensor& x) {
  return record("square", {x}, unary(UnaryOp::square, "square", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {g * x.get() * 2}; });
}

// de^x = e^x dx
Tensor exp(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::exp, "exp", x);
  return record("exp", {x}, y,
                [y = SavedTensor::output(y)](const Tensor& g) -> Tensors { return {g * y.get()}; });
}

// d(e^x - 1) = e^x dx
Tensor expm1(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::expm1, "expm1", x);
  return record("expm1", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    return {g * (y.get() + 1)};
  });
}

// d log x = dx / x
Tensor log(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("log", {x}, unary(UnaryOp::log, "log", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {g / x.get()}; });
}

// d log(1 + x) = dx / (1 + x)
Tensor log1p(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("log1p", {x}, unary(UnaryOp::log1p, "log1p", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {g / (x.get() + 1)}; });
}

// d sqrt(x) = dx / (2 sqrt(x))
Tensor sqrt(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::sqrt, "sqrt", x);
  return record("sqrt", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    return {g / (y.get() * 2)};
  });
}

// d x^(-1/2) = -1/2 x^(-3/2) dx
Tensor rsqrt(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::rsqrt, "rsqrt", x);
  return record("rsqrt", {x}, y,
                [x = SavedTensor(x), y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
                  return {g * y.get() / x.get() * -0.5};
                });
}

// d(1/x) = -dx / x^2
Tensor reciprocal(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::reciprocal, "reciprocal", x);
  return record("reciprocal", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    return {-(g * square(y.get()))};
  });
}

// d|x| = sign(x) dx
Tensor abs(const Tensor& x) {
  return record("abs", {x}, unary(UnaryOp::abs, "abs", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {g * sign(x.get())}; });
}

Tensor sign(const Tensor& x) { return piecewise_constant(UnaryOp::sign, "sign", x); }
Tensor floor(const Tensor& x) { return piecewise_constant(UnaryOp::floor, "floor", x); }
Tensor ceil(const Tensor& x) { return piecewise_constant(UnaryOp::ceil, "ceil", x); }
Tensor round(const Tensor& x) { return piecewise_constant(UnaryOp::round, "round", x); }

// d sin x = cos x dx
Tensor sin(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("sin", {x}, unary(UnaryOp::sin, "sin", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {g * cos(x.get())}; });
}

// d cos x = -sin x dx
Tensor cos(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("cos", {x}, unary(UnaryOp::cos, "cos", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors { return {-(g * sin(x.get()))}; });
}

// d tanh x = (1 - tanh^2 x) dx
Tensor tanh(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::tanh, "tanh", x);
  return record("tanh", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    return {g * (1 - square(y.get()))};
  });
}

// d erf x = 2/sqrt(pi) e^(-x^2) dx
Tensor erf(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("erf", {x}, unary(UnaryOp::erf, "erf", x),
                [x = SavedTensor(x)](const Tensor& g) -> Tensors {
                  return {g * exp(-square(x.get())) * (2 * std::numbers::inv_sqrtpi)};
                });
}

// ds = s (1 - s) dx
Tensor sigmoid(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::sigmoid, "sigmoid", x);
  return record("sigmoid", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    const Tensor s = y.get();
    return {g * (s * (1 - s))};
  });
}

namespace {

// Linear in g; as a function of y it is constant wherever it is differentiable.
Tensor relu_backward(const Tensor& g, const Tensor& y) {
  return record(
      "relu_backward", {g}, binary(BinaryOp::relu_backward, "relu_backward", {g, y, g.shape()}),
      [y = SavedTensor(y)](const Tensor& gg) -> Tensors { return {relu_backward(gg, y.get())}; });
}

}  // namespace

// d max(x, 0) = [x > 0] dx
Tensor relu(const Tensor& input) {
  const Tensor x = as_floating(input);
  Tensor y = unary(UnaryOp::relu, "relu", x);
  return record("relu", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
    return {relu_backward(g, y.get().detach())};
  });
}

Tensor leaky_relu(const Tensor& input, double slope) {
  const Tensor x = as_floating(input);
  return record("leaky_relu", {x}, unary(UnaryOp::leaky_relu, "leaky_relu", x, {slope}),
                [x = SavedTensor(x), slope](const Tensor& g) -> Tensors {
                  return {where(gt(x.get(), 0), g, g * slope)};
                });
}

// d(x Phi) = (Phi + x phi) dx
Tensor gelu(const Tensor& input, GeluApproximation approximation) {
  const Tensor x = as_floating(input);
  if (approximation == GeluApproximation::none) {
    return record("gelu", {x}, unary(UnaryOp::gelu, "gelu", x),
                  [saved = SavedTensor(x)](const Tensor& g) -> Tensors {
                    const Tensor x = saved.get();
                    const Tensor cdf = (erf(x * (1 / std::numbers::sqrt2)) + 1) * 0.5;
                    const Tensor pdf =
                        exp(square(x) * -0.5) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
                    return {g * (cdf + x * pdf)};
                  });
  }
  return record("gelu", {x}, unary(UnaryOp::gelu_tanh, "gelu", x),
                [saved = SavedTensor(x)](const Tensor& g) -> Tensors {
                  const Tensor x = saved.get();
                  const double k = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
                  const Tensor t = tanh((x + pow(x, 3) * 0.044715) * k);
                  const Tensor slope = (square(x) * (3 * 0.044715) + 1) * k;
                  return {g * ((t + 1) * 0.5 + x * (1 - square(t)) * slope * 0.5)};
                });
}

// d(x s) = s (1 + x (1 - s)) dx
Tensor silu(const Tensor& input) {
  const Tensor x = as_floating(input);
  return record("silu", {x}, unary(UnaryOp::silu, "silu", x),
                [saved = SavedTensor(x)](const Tensor& g) -> Tensors {
                  const Tensor x = saved.get(), s = sigmoid(x);
                  return {g * (s * (x * (1 - s) + 1))};
                });
}

// d softplus = sigmoid(beta x) dx, and dx beyond the threshold
Tensor softplus(const Tensor& input, double beta, double threshold) {
  check(beta > 0, "softplus", "expected beta > 0, got {}", beta);
  const Tensor x = as_floating(input);
  return record("softplus", {x}, unary(UnaryOp::softplus, "softplus", x, {beta, threshold}),
                [x = SavedTensor(x), beta, threshold](const Tensor& g) -> Tensors {
                  const Tensor z = x.get() * beta;
                  return {where(gt(z, threshold), g, g * sigmoid(z))};
                });
}

Tensor clamp(const Tensor& input, double low, double high) {
  const bool fits = is_whole(low) && is_whole(high) && input.dtype() != DType::boolean;
  const Tensor x = fits || is_floating(input.dtype()) ? input : to(input, DType::f32);
  check_bounds("clamp", x.dtype(), low, high);
  return record("clamp", {x}, unary(UnaryOp::clamp, "clamp", x, {low, high}),
                [x = SavedTensor(x), low, high](const Tensor& g) -> Tensors {
                  const Tensor v = x.get();
                  return {where(logical_and(gt(v, low), lt(v, high)), g, 0)};
                });
}

namespace {

// The gradient goes to the side that won; ties share it. Beside a NaN nobody loses.
Tensor extremum(BinaryOp op, const char* name, const Tensor& a, const Tensor& b) {
  const Operands in = meet(name, a, b);
  return record(
      name, {in.a, in.b}, binary(op, name, in),
      [op, a = SavedTensor(in.a), b = SavedTensor(in.b)](const Tensor& g, Needs needs) -> Tensors {
        const Tensor x = a.get(), z = b.get();
        const Tensor share = where(eq(x, z), g * 0.5, g);
        const auto part = [&](const Tensor& side, const Tensor& other) {
          const Tensor loses = op == BinaryOp::maximum ? lt(side, other) : gt(side, other);
          return sum_to(where(logical_not(loses), share, 0), side.shape());
        };
        return {needs[0] ? part(x, z) : Tensor(), needs[1] ? part(z, x) : Tensor()};
      });
}

}  // namespace

Tensor maximum(const Tensor& a, const Tensor& b) {
  return extremum(BinaryOp::maximum, "maximum", a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return extremum(BinaryOp::minimum, "minimum", a, b);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  common_device("where", {condition, a, b});
  as_boolean("where", condition);
  const Operands in = meet("where", a, b);
  Tensor out = empty(broadcast_shapes(in.shape, condition.shape(), "where"), in.a.options());
  kernel(&Kernels::where, a.device(), "where")(condition, in.a, in.b, out);
  return record("where", {in.a, in.b}, out,
                [c = SavedTensor(condition), sa = in.a.shape(), sb = in.b.shape()](
                    const Tensor& g, Needs needs) -> Tensors {
                  const Tensor zero = zeros({}, g.options());
                  return {needs[0] ? sum_to(where(c.get(), g, zero), sa) : Tensor(),
                          needs[1] ? sum_to(where(c.get(), zero, g), sb) : Tensor()};
                });
}

Tensor where(const Tensor& condition, const Tensor& a, double b) {
  const bool fits = is_floating(a.dtype()) || is_value_of(a.dtype(), b);
  const Tensor x = fits ? a : to(a, DType::f32);
  return where(condition, x, full({}, b, x.options()));
}

Tensor eq(const Tensor& a, const Tensor& b) { return compare(CompareOp::eq, "eq", a, b); }
Tensor ne(const Tensor& a, const Tensor& b) { return compare(CompareOp::ne, "ne", a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return compare(CompareOp::lt, "lt", a, b); }
Tensor le(const Tensor& a, const Tensor& b) { return compare(CompareOp::le, "le", a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return compare(CompareOp::gt, "gt", a, b); }
Tensor ge(const Tensor& a, const Tensor& b) { return compare(CompareOp::ge, "ge", a, b); }
Tensor eq(const Tensor& a, double b) { return compare(CompareOp::eq, "eq", a, b); }
Tensor ne(const Tensor& a, double b) { return compare(CompareOp::ne, "ne", a, b); }
Tensor lt(const Tensor& a, double b) { return compare(CompareOp::lt, "lt", a, b); }
Tensor le(const Tensor& a, double b) { return compare(CompareOp::le, "le", a, b); }
Tensor gt(const Tensor& a, double b) { return compare(CompareOp::gt, "gt", a, b); }
Tensor ge(const Tensor& a, double b) { return compare(CompareOp::ge, "ge", a, b); }

Tensor isnan(const Tensor& x) { return ne(x, x); }
Tensor isfinite(const Tensor& x) {
  if (!is_floating(x.dtype()))
    return ones(x.shape(), {.dtype = DType::boolean, .device = x.device()});
  const Tensor zero_or_nan = x.detach() * 0.0;
  return eq(zero_or_nan, zero_or_nan);
}

Tensor logical_and(const Tensor& a, const Tensor& b) {
  return where(as_boolean("logical_and", a), as_boolean("logical_and", b),
               full({}, 0, a.options()));
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  return where(as_boolean("logical_or", a), full({}, 1, a.options()), as_boolean("logical_or", b));
}
Tensor logical_not(const Tensor& a) { return eq(as_boolean("logical_not", a), 0); }

// ---- In place -----------------------------------------------------------------------------------

namespace {

/// "add" of "add_".
std::string_view out_of_place(std::string_view name) { return name.substr(0, name.size() - 1); }

Tensor binary_(BinaryOp op, const char* name, const Tensor& x, const Tensor& y) {
  check_in_place(x, y.requires_grad(), name, out_of_place(name));
  check_numbers(name, x);
  common_device(name, {x, y});
  check(broadcast_shapes(x.shape(), y.shape(), name) == x.shape(), name,
        "expected an operand that broadcasts to {}, got {}", x.shape(), y.shape());
  check(op != BinaryOp::div || is_floating(x.dtype()), name, "expected a floating dtype, got {}",
        x.dtype());
  check(is_floating(x.dtype()) || !is_floating(y.dtype()), name,
        "expected integers for {}, got {}: the operation that is not in place gives {}", x.dtype(),
        y.dtype(), promote(x.dtype(), y.dtype()));
  Tensor operand = y.dtype() == x.dtype() ? y : to(y.detach(), x.dtype());
  // Another view of the same bytes would be read after it was overwritten.
  if (operand.storage() == x.storage() && !is_same_view(operand, x)) {
    operand = clone(operand.detach());
  }
  kernel(&Kernels::binary, x.device(), name)(op, x, operand, x);
  x.bump_version();
  return x;
}

Tensor unary_(UnaryOp op, const char* name, const Tensor& x, Params params) {
  check_in_place(x, false, name, out_of_place(name));
  check_numbers(name, x);
  kernel(&Kernels::unary, x.device(), name)(op, params, x, x);
  x.bump_version();
  return x;
}

/// One number for all of x.
Tensor scalar_(UnaryOp op, const char* name, const Tensor& x, double y) {
  check(is_floating(x.dtype()) || is_integer(y), name,
        "expected a whole number for {}, got {}: the operation that is not in place gives f32",
        x.dtype(), y);
  return unary_(op, name, x, {y});
}

}  // namespace

Tensor add_(const Tensor& x, const Tensor& y) { return binary_(BinaryOp::add, "add_", x, y); }
Tensor sub_(const Tensor& x, const Tensor& y) { return binary_(BinaryOp::sub, "sub_", x, y); }
Tensor mul_(const Tensor& x, const Tensor& y) { return binary_(BinaryOp::mul, "mul_", x, y); }
Tensor div_(const Tensor& x, const Tensor& y) { return binary_(BinaryOp::div, "div_", x, y); }
Tensor add_(const Tensor& x, double y) { return scalar_(UnaryOp::add_scalar, "add_", x, y); }
Tensor sub_(const Tensor& x, double y) { return scalar_(UnaryOp::add_scalar, "sub_", x, -y); }
Tensor mul_(const Tensor& x, double y) { return scalar_(UnaryOp::mul_scalar, "mul_", x, y); }
Tensor div_(const Tensor& x, double y) {
  check(is_floating(x.dtype()), "div_", "expected a floating dtype, got {}", x.dtype());
  return scalar_(UnaryOp::div_scalar, "div_", x, y);
}
Tensor clamp_(const Tensor& x, double low, double high) {
  check(is_floating(x.dtype()) || (is_whole(low) && is_whole(high)), "clamp_",
        "expected whole bounds for {}, got {} and {}: clamp gives f32", x.dtype(), low, high);
  check_bounds("clamp_", x.dtype(), low, high);
  return unary_(UnaryOp::clamp, "clamp_", x, {low, high});
}

}  // namespace invar
