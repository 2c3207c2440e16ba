// vjp, jvp, jacobian, hvp and hessian against matrices written out by hand, and against each other.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <invar/autodiff/functional.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr TensorOptions kF64{.dtype = DType::f64};

Tensor random(const Dims& shape, std::uint64_t seed) {
  Generator generator(seed);
  return randn(shape, kF64, generator);
}

double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  return norm(a - b).item();
}

}  // namespace

TEST_CASE("a linear map's derivatives are its matrix", "[gradcheck]") {
  const Tensor a = random({3, 4}, 1), x = random({4}, 2), v = random({4}, 3), u = random({3}, 4);
  const auto f = [&](const Tensors& in) { return matmul(a, in[0]); };
  CHECK(distance(jacobian(f, {x})[0], a) < 1e-14);
  const auto forward = jvp(f, {x}, {v});
  CHECK(distance(forward.outputs[0], matmul(a, x)) < 1e-14);
  CHECK(distance(forward.derivatives[0], matmul(a, v)) < 1e-14);
  CHECK(distance(vjp(f, {x}, {u}).derivatives[0], matmul(transpose(a), u)) < 1e-14);
  CHECK_FALSE(forward.derivatives[0].requires_grad());
  CHECK_FALSE(forward.outputs[0].requires_grad());
  CHECK_FALSE(x.requires_grad());
}

TEST_CASE("several inputs and outputs: u . J v from both sides", "[gradcheck]") {
  const Tensors x{random({2, 3}, 5), random({3}, 6), random({2}, 7)};
  const Tensors v{random({2, 3}, 8), random({3}, 9), random({2}, 10)};
  const Tensors u{random({2, 3}, 11), random({}, 12)};
  // x[2] is not used, and the second output depends on x[1] alone.
  const TensorsFunction f = [](const Tensors& in) -> Tensors {
    return {exp(in[0]) * in[1], sum(sin(in[1]))};
  };
  const Tensors columns = jvp(f, x, v).derivatives, rows = vjp(f, x, u).derivatives;
  double left = 0, right = 0;
  for (std::size_t k = 0; k < u.size(); ++k) left += sum(u[k] * columns[k]).item();
  for (std::size_t i = 0; i < x.size(); ++i) right += sum(rows[i] * v[i]).item();
  CHECK(std::abs(left - right) < 1e-12);
  CHECK(norm(rows[2]).item() == 0);
  CHECK(distance(columns[0], exp(x[0]) * (x[1] * v[0] + v[1])) < 1e-12);

  // The columns of the Jacobian.
  const Tensors j = jacobian([](const Tensors& in) { return exp(in[0]) * in[1]; }, x);
  CHECK(j[0].shape() == Dims{2, 3, 2, 3});
  CHECK(j[2].shape() == Dims{2, 3, 2});
  const Tensor product =
      matmul(reshape(j[0], {6, 6}), reshape(v[0], {6})) + matmul(reshape(j[1], {6, 3}), v[1]);
  CHECK(distance(reshape(product, {2, 3}), columns[0]) < 1e-12);
}

TEST_CASE("hvp is the Hessian times a vector", "[gradcheck]") {
  // f = 1/2 x^T A x + sum sin x has H = (A + A^T)/2 - diag sin x.
  const Tensor a = random({4, 4}, 13), x = random({4}, 14), v = random({4}, 15);
  const auto f = [&](const Tensors& in) {
    return matmul(in[0], matmul(a, in[0])) * 0.5 + sum(sin(in[0]));
  };
  const Tensor expected = matmul((a + transpose(a)) * 0.5, v) - sin(x) * v;
  const auto result = hvp(f, {x}, {v});
  CHECK(distance(result.derivatives[0], expected) < 1e-12);
  CHECK(result.outputs[0].dim() == 0);
  // The same through jvp of the gradient, with the tape off around it.
  NoGrad guard;
  const auto gradient = [&](const Tensors& in) {
    return vjp(f, in, {ones({}, kF64)}, /*create_graph=*/true).derivatives[0];
  };
  CHECK(distance(jvp(gradient, {x}, {v}).derivatives[0], expected) < 1e-12);
  CHECK(distance(matmul(jacobian(gradient, {x})[0], v), expected) < 1e-12);
}

TEST_CASE("hessian has a block per pair of inputs", "[gradcheck]") {
  // f = sum_ik B_ik x_ik y_k^2 + sum x^3 /6; z is not used, and f is linear in w.
  const Tensor b = random({2, 3}, 19), x = random({2, 3}, 20), y = random({3}, 21);
  const Tensors inputs{x, y, random({2}, 22), random({}, 23)};
  const auto f = [&](const Tensors& in) {
    return sum(b * in[0] * square(in[1])) + sum(pow(in[0], 3)) / 6.0 + in[3] * 2.0;
  };
  const std::vector<Tensors> h = hessian(f, inputs);
  REQUIRE(h.size() == 4);
  CHECK(h[0][1].shape() == Dims{2, 3, 3});
  CHECK(h[2][0].shape() == Dims{2, 2, 3});
  CHECK(h[3][3].shape().empty());
  CHECK(distance(reshape(h[0][0], {6, 6}), diag(reshape(x, {6}))) < 1e-12);
  CHECK(distance(h[1][1], diag(sum(b * x, {0}) * 2.0)) < 1e-12);
  CHECK(distance(reshape(h[0][1], {6, 3}), transpose(reshape(h[1][0], {3, 6}))) < 1e-12);
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 4; ++j) {
      if (i >= 2 || j >= 2) CHECK(norm(h[i][j]).item() == 0);
      CHECK_FALSE(h[i][j].requires_grad());
    }
  }
  // Row by row it is hvp.
  const Tensor v = random({2, 3}, 24);
  const Tensors rest{v, zeros({3}, kF64), zeros({2}, kF64), zeros({}, kF64)};
  const Tensors product = hvp(f, inputs, rest).derivatives;
  CHECK(distance(matmul(reshape(h[1][0], {3, 6}), reshape(v, {6})), product[1]) < 1e-12);

  // The third derivative of x^4 is 24 x, on the diagonal of all three.
  const Tensor leaf = random({3}, 25).requires_grad_();
  const auto fourth = [](const Tensors& in) { return sum(pow(in[0], 4)); };
  sum(hessian(fourth, {leaf}, /*create_graph=*/true)[0][0]).backward();
  CHECK(distance(leaf.grad(), leaf.detach() * 24.0) < 1e-12);
}

TEST_CASE("create_graph leads back to the inputs", "[gradcheck]") {
  const Tensor x = random({3}, 16).requires_grad_(), v = random({3}, 17);
  const auto cube = [](const Tensors& in) { return in[0] * in[0] * in[0]; };
  sum(jvp(cube, {x}, {v}, true).derivatives[0]).backward();  // d/dx 3 x^2 v
  CHECK(distance(x.grad(), x.detach() * v * 6) < 1e-12);
  // One tensor given twice: derivatives with respect to each place.
  const auto product = [](const Tensors& in) { return in[0] * square(in[1]); };
  const Tensors j = vjp(product, {x, x}, {ones({3}, kF64)}, true).derivatives;
  CHECK(distance(j[0].detach(), square(x.detach())) < 1e-12);
  CHECK(distance(j[1].detach(), square(x.detach()) * 2) < 1e-12);
}

TEST_CASE("functional derivatives refuse what does not fit", "[gradcheck]") {
  const Tensor x = random({3}, 18);
  const auto f = [](const Tensors& in) { return in[0] * 2; };
  CHECK_THROWS_WITH(jvp(f, {x}, {random({2}, 1)}), ContainsSubstring("[jvp] expected v[0] like"));
  CHECK_THROWS_WITH(vjp(f, {x}, {}), ContainsSubstring("expected 1 tensors v"));
  CHECK_THROWS_WITH(hvp(f, {x}, {x}), ContainsSubstring("[hvp] expected a function with a one-"));
  CHECK_THROWS_WITH(hessian(f, {x}),
                    ContainsSubstring("[hessian] expected a function with a one-"));
  CHECK_THROWS_WITH(jacobian(f, {zeros({2}, {.dtype = DType::i64})}),
                    ContainsSubstring("floating"));
  CHECK_THROWS_WITH(jacobian([](const Tensors& in) { return argmax(in[0]); }, {x}),
                    ContainsSubstring("[jacobian] expected outputs of floating dtypes, got i64"));
  CHECK(jacobian(f, {zeros({0}, kF64)})[0].shape() == Dims{0, 0});
}
