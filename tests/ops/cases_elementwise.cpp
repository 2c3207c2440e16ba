// Elementwise operations: every one, in several shapes, against the C++ library.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>
#include <numbers>

#include "op_case.hpp"

namespace invar::test {
namespace {

struct UnaryCase {
  const char* name;
  Tensor (*f)(const Tensor&);
  double (*reference)(double);
  double low = -2, high = 2;
  bool kinks = false;
};

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }

const UnaryCase kUnary[] = {
    {"neg", neg, [](double x) { return -x; }},
    {"add scalar", [](const Tensor& x) { return x + 1.5; }, [](double x) { return x + 1.5; }},
    {"scalar minus", [](const Tensor& x) { return 1.5 - x; }, [](double x) { return 1.5 - x; }},
    {"mul scalar", [](const Tensor& x) { return 2.5 * x; }, [](double x) { return 2.5 * x; }},
    {"div scalar", [](const Tensor& x) { return x / 2.5; }, [](double x) { return x / 2.5; }},
    {"scalar div", [](const Tensor& x) { return 2.5 / x; }, [](double x) { return 2.5 / x; }, 0.5},
    {"square", square, [](double x) { return x * x; }},
    {"pow 3", [](const Tensor& x) { return pow(x, 3); }, [](double x) { return x * x * x; }},
    {"pow 2", [](const Tensor& x) { return pow(x, 2); }, [](double x) { return x * x; }},
    {"pow 1", [](const Tensor& x) { return pow(x, 1); }, [](double x) { return x; }},
    {"pow 0", [](const Tensor& x) { return pow(x, 0); }, [](double) { return 1.0; }},
    {"pow -1.5", [](const Tensor& x) { return pow(x, -1.5); },
     [](double x) { return std::pow(x, -1.5); }, 0.5},
    {"exp", exp, std::exp},
    {"expm1", expm1, std::expm1},
    {"log", log, std::log, 0.5},
    {"log1p", log1p, std::log1p, -0.5},
    {"sqrt", sqrt, std::sqrt, 0.5},
    {"rsqrt", rsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.5},
    {"reciprocal", reciprocal, [](double x) { return 1 / x; }, 0.5},
    {"abs", abs, std::abs, -2, 2, true},
    {"sign", sign, [](double x) { return x > 0   ? 1.0
                                         : x < 0 ? -1.0
                                                 : 0.0; }},
    {"sin", sin, std::sin},
    {"cos", cos, std::cos},
    {"tanh", tanh, std::tanh},
    {"erf", erf, std::erf},
    {"sigmoid", sigmoid, logistic},
    {"relu", relu, [](double x) { return x > 0 ? x : 0; }, -2, 2, true},
    {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.2); },
     [](double x) { return x > 0 ? x : 0.2 * x; }, -2, 2, true},
    {"gelu", [](const Tensor& x) { return gelu(x); }, [](double x) { return x * normal_cdf(x); }},
    {"gelu tanh", [](const Tensor& x) { return gelu(x, GeluApproximation::tanh); },
     [](double x) {
       return 0.5 * x *
              (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
     }},
    {"silu", silu, [](double x) { return x * logistic(x); }},
    {"softplus", [](const Tensor& x) { return softplus(x); },
     [](double x) { return std::log1p(std::exp(x)); }},
    {"softplus beta 3, beyond 2", [](const Tensor& x) { return softplus(x, 3, 2); },
     [](double x) { return 3 * x > 2 ? x : std::log1p(std::exp(3 * x)) / 3; }},
    {"floor", floor, std::floor},
    {"ceil", ceil, std::ceil},
    {"round", round, std::nearbyint},
    {"clamp", [](const Tensor& x) { return clamp(x, -0.5, 1); },
     [](double x) { return std::min(std::max(x, -0.5), 1.0); }, -2, 2, true},
};

struct BinaryCase {
  const char* name;
  Tensor (*f)(const Tensor&, const Tensor&);
  double (*reference)(double, double);
  double low = -2, high = 2;
  bool kinks = false;
};

const BinaryCase kBinary[] = {
    {"add", add, [](double a, double b) { return a + b; }},
    {"sub", sub, [](double a, double b) { return a - b; }},
    {"mul", mul, [](double a, double b) { return a * b; }},
    {"div", div, [](double a, double b) { return a / b; }, 0.5, 2},
    {"pow", pow, [](double a, double b) { return std::pow(a, b); }, 0.5, 2},
    {"maximum", maximum, [](double a, double b) { return std::max(a, b); }, -2, 2, true},
    {"minimum", minimum, [](double a, double b) { return std::min(a, b); }, -2, 2, true},
};

OpCases cases() {
  OpCases all;
  Generator generator(2024);
  const auto add_unary = [&](const UnaryCase& op, const Dims& shape) {
    all.push_back({.name = fmt::format("{} {}", op.name, shape),
                   .inputs = {real(shape, op.low, op.high)},
                   .f = [f = op.f](const Tensors& x) { return f(x[0]); },
                   .reference =
                       [f = op.reference](const Tensors& x) {
                         return naive_elementwise(
                             x, [f](const std::vector<double>& v) { return f(v[0]); });
                       },
                   .kinks = op.kinks});
  };
  for (const UnaryCase& op : kUnary) {
    for (const Dims& shape : {Dims{}, Dims{1}, Dims{0, 2}, Dims{2, 1, 4}}) add_unary(op, shape);
    add_unary(op, random_shape(generator));
  }
  for (const Dims& shape : {Dims{3, 7000}, Dims{20000}}) add_unary(kUnary[3], shape);  // threads

  const auto add_binary = [&](const BinaryCase& op, const Dims& a, const Dims& b) {
    all.push_back({.name = fmt::format("{} {} {}", op.name, a, b),
                   .inputs = {real(a, op.low, op.high), real(b, op.low, op.high)},
                   .f = [f = op.f](const Tensors& x) { return f(x[0], x[1]); },
                   .reference =
                       [f = op.reference](const Tensors& x) {
                         return naive_elementwise(
                             x, [f](const std::vector<double>& v) { return f(v[0], v[1]); });
                       },
                   .kinks = op.kinks});
  };
  for (const BinaryCase& op : kBinary) {
    add_binary(op, {2, 3}, {2, 3});
    add_binary(op, {2, 3}, {3});
    add_binary(op, {2, 1}, {1, 3});
    add_binary(op, {}, {2, 2});
    add_binary(op, {1, 1}, {});
    add_binary(op, {0, 3}, {1, 3});
    add_binary(op, {4, 1, 2}, {3, 1});
    for (int i = 0; i < 4; ++i) {
      const Dims shape = random_shape(generator);
      const Dims part = random_broadcast_of(generator, shape);
      i % 2 == 0 ? add_binary(op, shape, part) : add_binary(op, part, shape);
    }
  }
  add_binary(kBinary[2], {150, 130}, {130});
  add_binary(kBinary[2], {150, 1}, {130});

  const auto add_where = [&](const Dims& condition, const Dims& a, const Dims& b) {
    all.push_back({.name = fmt::format("where {} {} {}", condition, a, b),
                   .inputs = {mask(condition), real(a), real(b)},
                   .f = [](const Tensors& x) { return where(x[0], x[1], x[2]); },
                   .reference =
                       [](const Tensors& x) {
                         return naive_elementwise(x, [](const std::vector<double>& v) {
                           return v[0] != 0 ? v[1] : v[2];
                         });
                       }});
  };
  add_where({2, 3}, {2, 3}, {2, 3});
  add_where({2, 3}, {}, {3});
  add_where({3}, {2, 3}, {2, 1});
  add_where({}, {2}, {2});
  add_where({0, 2}, {1, 2}, {2});
  all.push_back({.name = "where scalar",
                 .inputs = {mask({2, 3}), real({3})},
                 .f = [](const Tensors& x) { return where(x[0], x[1], 0.5); }});

  // One tensor in both places: its gradient has two parts.
  all.push_back({.name = "mul by itself", .inputs = {real({3})}, .f = [](const Tensors& x) {
                   return x[0] * x[0] - x[0] / (x[0] * x[0] + 1);
                 }});
  // A base of 0 and below: only the gradient of the base exists.
  all.push_back({.name = "pow of any base", .inputs = {real({3, 4})}, .f = [](const Tensors& x) {
                   return pow(x[0], full({4}, 3, x[0].options()));
                 }});
  for (const Dims& shape : {Dims{2, 3}, Dims{}, Dims{0, 2}}) {
    // In f32 a conversion there and back; its gradients come back in f32.
    all.push_back(
        {.name = fmt::format("to {}", shape), .inputs = {real(shape)}, .f = [](const Tensors& x) {
           return to(square(to(x[0], DType::f64)), x[0].dtype());
         }});
  }
  all.push_back({.name = "clone", .inputs = {real({2, 3})}, .f = [](const Tensors& x) {
                   return clone(x[0]);
                 }});
  all.push_back({.name = "contiguous", .inputs = {real({2, 3})}, .f = [](const Tensors& x) {
                   return contiguous(transpose(x[0]));
                 }});
  all.push_back({.name = "comparisons",
                 .inputs = {real({2, 3}), real({3})},
                 .f = [](const Tensors& x) -> Tensors {
                   return {eq(x[0], x[1]),
                           ne(x[0], x[1]),
                           lt(x[0], x[1]),
                           le(x[0], x[1]),
                           gt(x[0], 0.25),
                           ge(x[0], 0.25),
                           x[0]};
                 }});
  return all;
}

}  // namespace

TEST_CASE("elementwise: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("elementwise: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("elementwise: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("pow: second gradients where the exponent is 0 or 1", "[gradcheck]") {
  constexpr TensorOptions kDouble{.dtype = DType::f64};
  const Tensor base = tensor({2, 0.5, 3, 1.5}, kDouble), exponent = tensor({0, 0, 1, 2}, kDouble);
  const auto f = [](const Tensors& x) { return pow(x[0], x[1]); };
  CHECK(gradgradcheck(f, {base, exponent}).message == "");
  // 0^0 is 1 for any base.
  const Tensor x = zeros({1}, kDouble).requires_grad_();
  const Tensor slope = grad({sum(pow(x, zeros({1}, kDouble)))}, {x}, {}, {.create_graph = true})[0];
  CHECK(slope.item() == 0);
  CHECK(grad({sum(slope)}, {x})[0].item() == 0);
}

TEST_CASE("relu: a NaN goes on backward, too", "[unit]") {
  const Tensor x = tensor({std::nan(""), -1, 0, 2}).requires_grad_();
  sum(relu(x)).backward();
  CHECK(sum(x.grad()).item() == 2);
}

TEST_CASE("clamp of booleans is of f32", "[unit]") {
  const Tensor x = tensor({0, 1}, {.dtype = DType::boolean});
  for (const double low : {0.0, 0.5}) {
    const Tensor y = clamp(x, low, 1);
    CHECK(y.dtype() == DType::f32);
    CHECK(sum(y).item() == 1 + low);
  }
}

TEST_CASE("elementwise: NaN and infinity are told from numbers", "[unit]") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = tensor({1, inf, nan, -inf, 0, -2}, {.dtype = dtype});
    CHECK(sum(isnan(x)).item() == 1);
    CHECK(slice(isnan(x), 0, 2, 3).item() == 1);
    CHECK(sum(isfinite(x)).item() == 3);
    CHECK(sum(slice(isfinite(x), 0, 1, 4)).item() == 0);
    CHECK(full_like(x, 3).dtype() == dtype);
  }
  CHECK(sum(isfinite(arange(0, 4, 1, {.dtype = DType::i64}))).item() == 4);
}

}  // namespace invar::test
