// gradcheck itself: it passes right gradients, and says what is wrong with wrong ones.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/autograd/record.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr TensorOptions kF64{.dtype = DType::f64};

Tensor random(const Dims& shape, std::uint64_t seed = 1) {
  Generator generator(seed);
  return randn(shape, kF64, generator);
}

/// x^2 with a rule of the caller's: d(x^2) = 2 x dx is right.
template <class Rule>
Tensor square_with(const Tensor& x, Rule rule) {
  Tensor y;
  {
    NoGrad guard;
    y = square(x);
  }
  return record("square_with", {x}, y, [x = SavedTensor(x), rule](const Tensor& g) -> Tensors {
    return {rule(g, x.get())};
  });
}

}  // namespace

TEST_CASE("gradcheck passes right gradients, first and second order", "[gradcheck]") {
  const auto f = [](const Tensors& x) -> Tensors {
    return {exp(x[0]) * x[1], sum(sin(x[1])), x[0]};
  };
  const Tensors dense = {random({2, 3}), random({3}, 2)};
  const Tensors strided = {transpose(random({3, 2})), slice(random({6}), 0, 1, 6, 2)};
  const Tensors expanded = {expand(random({1, 3}), {2, 3}), expand(random({}), {3})};
  const Tensors empty = {random({0, 3}), random({3})};
  const Tensors scalars = {random({}), random({1})};
  const Tensors large = {random({40, 30}), random({30})};
  for (const Tensors& x : {dense, strided, expanded, empty, scalars, large}) {
    INFO("inputs " << to_string(x[0].shape()) << " " << to_string(x[1].shape()));
    const GradcheckResult first = gradcheck(f, x);
    CHECK(first.message == "");
    CHECK(first.ok);
    const GradcheckResult second = gradgradcheck(f, x);
    CHECK(second.message == "");
    CHECK(second.ok);
  }
}

TEST_CASE("gradcheck leaves the inputs as they were", "[gradcheck]") {
  const Tensor x = random({4});
  const Tensor before = clone(x);
  const std::uint32_t version = x.version();
  CHECK(gradcheck([](const Tensors& x) { return square(x[0]); }, {x}));
  CHECK(x.version() == version);
  CHECK_FALSE(x.requires_grad());
  CHECK(sum(to(ne(x, before), DType::i64)).item<int>() == 0);
}

TEST_CASE("gradcheck passes on what it does not differentiate", "[gradcheck]") {
  const Tensor mask = gt(random({2, 3}), 0);
  const auto f = [](const Tensors& x) -> Tensors {
    return {where(x[1], square(x[0]), 0), gt(x[0], 0)};
  };
  CHECK(gradcheck(f, {random({2, 3}, 5), mask}));
  CHECK(gradgradcheck(f, {random({2, 3}, 5), mask}));
  // No history at all: the gradient is zero, and rightly so.
  CHECK(gradcheck([](const Tensors& x) { return floor(x[0]).detach(); }, {random({5})}));
  CHECK_THROWS_WITH(gradcheck([](const Tensors& x) { return x[0]; }, {zeros({2})}),
                    ContainsSubstring("expected at least one f64 input"));
  CHECK_THROWS_WITH(gradcheck([](const Tensors& x) { return to(x[0], DType::f32); }, {random({2})}),
                    ContainsSubstring("expected outputs of dtype f64"));
}

TEST_CASE("gradcheck catches a wrong gradient and says where", "[gradcheck]") {
  const auto wrong_at_one_element = [](const Tensors& x) {
    return square_with(x[0], [](const Tensor& g, const Tensor& x) {
      Tensor wrong = (g * x * 2).detach();
      const Tensor element = select(select(wrong, 0, 1), 0, 2);
      mul_(element, 1.001);
      return wrong;
    });
  };
  const GradcheckResult small = gradcheck(wrong_at_one_element, {random({2, 3})});
  CHECK_FALSE(small);
  CHECK_THAT(
      small.message,
      ContainsSubstring("1 of 36 entries differ:") &&
          ContainsSubstring("d output 0 (f64 [2, 3]) element [1, 2] / d input 0 (f64 [2, 3]) "
                            "element [1, 2]: analytic ") &&
          ContainsSubstring("tolerance "));

  // In the large form one wrong element of 1000 is seen in the projections.
  const GradcheckResult large = gradcheck(wrong_at_one_element, {random({100, 10})});
  CHECK_FALSE(large);
  CHECK_THAT(large.message, ContainsSubstring("random direction"));

  const auto wrong_everywhere = [](const Tensors& x) {
    return square_with(x[0], [](const Tensor& g, const Tensor& x) { return g * x; });
  };
  const GradcheckResult sampled = gradcheck(wrong_everywhere, {random({1000})});
  CHECK_FALSE(sampled);
  CHECK_THAT(sampled.message, ContainsSubstring("the worst:") &&
                                  ContainsSubstring("d(v . y) / d input 0 (f64 [1000]) element ["));

  const auto not_a_number = [](const Tensors& x) {
    return square_with(x[0], [](const Tensor& g, const Tensor& x) { return g * x * NAN; });
  };
  CHECK_FALSE(gradcheck(not_a_number, {random({2})}));
  const auto infinite = [](const Tensors& x) {
    return square_with(x[0], [](const Tensor& g, const Tensor& x) { return g * x * HUGE_VAL; });
  };
  CHECK_FALSE(gradcheck(infinite, {random({1})}));
  CHECK_FALSE(gradcheck(infinite, {random({1000})}));
}

TEST_CASE("gradgradcheck catches a rule that is right but not differentiable", "[gradcheck]") {
  const auto cut = [](const Tensors& x) {
    return square_with(x[0], [](const Tensor& g, const Tensor& x) { return g * (x.detach() * 2); });
  };
  CHECK(gradcheck(cut, {random({3})}));
  const GradcheckResult result = gradgradcheck(cut, {random({3})});
  CHECK_FALSE(result);
  CHECK_THAT(result.message, ContainsSubstring("second order"));
}

TEST_CASE("gradcheck skips kinks only when told to", "[gradcheck]") {
  const auto f = [](const Tensors& x) { return relu(x[0]); };
  const Tensor x = tensor({-1.0, 0.0, 2.0, 3.0}, kF64);
  CHECK_FALSE(gradcheck(f, {x}));
  CHECK(gradcheck(f, {x}, {.skip_kinks = true}));
  // Elsewhere a wrong gradient is still seen.
  const auto wrong = [](const Tensors& x) {
    return square_with(relu(x[0]), [](const Tensor& g, const Tensor& x) { return g * x; });
  };
  CHECK_FALSE(gradcheck(wrong, {x}, {.skip_kinks = true}));
  const GradcheckResult nothing = gradcheck([](const Tensors& x) { return sum(abs(x[0])); },
                                            {zeros({4}, kF64)}, {.skip_kinks = true});
  CHECK_FALSE(nothing);
  CHECK_THAT(nothing.message, ContainsSubstring("4 of 4 entries lie at a kink"));
}

TEST_CASE("gradcheck notices a function that is none", "[gradcheck]") {
  Generator generator(3);
  const GradcheckResult result = gradcheck(
      [&](const Tensors& x) { return x[0] * rand(x[0].shape(), kF64, generator); }, {random({3})});
  CHECK_FALSE(result);
  CHECK_THAT(result.message, ContainsSubstring("depends on more than its inputs"));
}
