// Reductions: special values, ties, dtypes, errors, threads. Values and gradients of ordinary
// numbers are in cases_reduce.cpp.
#include <omp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <invar/core/autograd/engine.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr TensorOptions kF64{.dtype = DType::f64};

/// Same values, NaN equal to NaN.
bool same(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor equal = eq(a, b), both_nan = logical_and(ne(a, a), ne(b, b));
  return all(logical_or(equal, both_nan)).item<bool>();
}

Tensor f64(std::initializer_list<double> values) { return tensor(values, kF64); }
Tensor i64(std::initializer_list<double> values) { return tensor(values, {.dtype = DType::i64}); }

Tensor gradient(const Tensor& y, const Tensor& x) { return grad({sum(y)}, {x})[0]; }

}  // namespace

TEST_CASE("reductions of nothing", "[unit]") {
  const Tensor x = zeros({2, 0}, kF64);
  CHECK(same(sum(x, {1}), f64({0, 0})));
  CHECK(same(any(x, {1}), tensor({0, 0}, {.dtype = DType::boolean})));
  CHECK(same(all(x, {1}), tensor({1, 1}, {.dtype = DType::boolean})));
  CHECK(same(mean(x, {1}), f64({kNan, kNan})));
  CHECK(same(var(x, {1}), f64({kNan, kNan})));
  CHECK(same(logsumexp(x, {1}), f64({-kInf, -kInf})));
  for (double p : {1.0, 2.0, kInf}) CHECK(same(norm(x, p, {1}), f64({0, 0})));
  CHECK(amax(x, {0}).shape() == Dims{0});
  CHECK(max(x, 0).indices.shape() == Dims{0});
  CHECK_THROWS_WITH(amax(x), ContainsSubstring("[amax] expected at least one value"));
  CHECK_THROWS_WITH(amin(x, {1}), ContainsSubstring("[amin] expected at least one value"));
  CHECK_THROWS_WITH(max(x, 1), ContainsSubstring("[max] expected at least one value"));
  CHECK_THROWS_WITH(argmin(x), ContainsSubstring("[argmin] expected at least one value"));
  CHECK(softmax(x, 1).shape() == Dims{2, 0});
  CHECK(cumsum(x, 0).shape() == Dims{2, 0});
}

TEST_CASE("variance of one value, and of values far from zero", "[unit]") {
  CHECK(std::isnan(var(f64({3})).item()));
  CHECK(var(f64({3}), {}, 0).item() == 0);
  // A sum of squares less the squared mean would lose every digit.
  const Tensor x = f64({1, 2, 3, 4}) + 1e9;
  CHECK(std::abs(var(x).item() - 5.0 / 3) < 1e-6);
  const Tensor constant = full({3, 5}, 0.1, kF64).requires_grad_();
  CHECK(same(invar::std(constant, {1}), zeros({3}, kF64)));
  CHECK(same(gradient(invar::std(constant, {1}), constant), zeros({3, 5}, kF64)));
  // No f32 holds the squares.
  for (const double scale : {0x1p-83, 0x1p83}) {
    const Tensor far = (tensor({1, 3}) * scale).requires_grad_();
    const Tensor spread = invar::std(far, {}, 0);
    CHECK(spread.item() == scale);
    CHECK(same(gradient(spread, far), tensor({-0.5, 0.5})));
  }
}

TEST_CASE("a NaN wins", "[unit]") {
  const Tensor x = f64({1, kNan, 3, kNan});
  CHECK(std::isnan(amax(x).item()));
  CHECK(std::isnan(amin(x).item()));
  CHECK(std::isnan(norm(x, kInf).item()));
  CHECK(argmax(x).item<int>() == 1);
  CHECK(argmin(x).item<int>() == 1);
  CHECK(std::isnan(max(x, 0).values.item()));
  CHECK(std::isnan(logsumexp(x).item()));
  // And has the gradient.
  const Tensor leaf = clone(x).requires_grad_();
  CHECK(same(gradient(amax(leaf), leaf), f64({0, 0.5, 0, 0.5})));
  CHECK(same(gradient(amin(leaf), leaf), f64({0, 0.5, 0, 0.5})));
  const Tensor other = f64({2, 2, kNan, kNan}).requires_grad_();
  CHECK(same(gradient(maximum(leaf, other), leaf), f64({0, 1, 1, 1})));
  CHECK(same(gradient(minimum(leaf, other), other), f64({0, 1, 1, 1})));
  // In every lane of the vectorised loop.
  for (int at = 0; at < 20; ++at) {
    Tensor y = ones({20}, kF64);
    y.data<double>()[at] = kNan;
    CHECK(std::isnan(amax(y).item()));
    const Tensor columns = amax(clone(expand(unsqueeze(y, 1), {20, 3})), {0});
    CHECK(same(columns, f64({kNan, kNan, kNan})));
  }
}

TEST_CASE("ties", "[unit]") {
  const Tensor x = f64({2, 5, 1, 5}).requires_grad_();
  CHECK(same(gradient(amax(x), x), f64({0, 0.5, 0, 0.5})));
  CHECK(same(gradient(max(x, 0).values, x), f64({0, 1, 0, 0})));
  CHECK(argmax(x).item<int>() == 1);
  CHECK(argmin(f64({3, 1, 1})).item<int>() == 1);
  const Tensor signs = f64({-5, 2, 5}).requires_grad_();
  CHECK(same(gradient(norm(signs, kInf), signs), f64({-0.5, 0, 0.5})));
  CHECK(argmax(f64({-kInf, -kInf})).item<int>() == 0);
}

TEST_CASE("sort and topk: ties keep their order, NaN is the largest", "[unit]") {
  const Tensor x = f64({2, kNan, 1, 2, kInf, 1, kNan});
  const auto [up, up_at] = sort(x);
  CHECK(same(up, f64({1, 1, 2, 2, kInf, kNan, kNan})));
  CHECK(same(up_at, i64({2, 5, 0, 3, 4, 1, 6})));
  const auto [down, down_at] = sort(x, 0, true);
  CHECK(same(down, f64({kNan, kNan, kInf, 2, 2, 1, 1})));
  CHECK(same(down_at, i64({1, 6, 4, 0, 3, 2, 5})));
  CHECK(same(topk(x, 4).indices, i64({1, 6, 4, 0})));
  CHECK(same(topk(x, 3, 0, false).indices, i64({2, 5, 0})));
  CHECK(same(sort(tensor({3, 1, 2}, {.dtype = DType::u8})).values,
             tensor({1, 2, 3}, {.dtype = DType::u8})));
  CHECK_THROWS_WITH(topk(x, 8), ContainsSubstring("[topk] expected k in [0, 7]"));
  CHECK_THROWS_WITH(sort(x, 1), ContainsSubstring("expected a dimension in [-1, 0], got 1"));
}

TEST_CASE("norms at zero have gradient zero", "[unit]") {
  for (double p : {1.0, 2.0, kInf}) {
    const Tensor x = zeros({3}, kF64).requires_grad_();
    CHECK(norm(x, p).item() == 0);
    const Tensor g = grad({norm(x, p)}, {x}, {}, {.create_graph = true})[0];
    CHECK(same(g, zeros({3}, kF64)));
    if (!g.requires_grad()) continue;
    const Tensor second = gradient(g, x);
    CHECK(same(second - second, zeros({3}, kF64)));  // finite
  }
  CHECK_THROWS_WITH(norm(f64({1}), 3), ContainsSubstring("[norm] expected p = 1, 2 or infinity"));
  const Tensor x = zeros({2, 3}, kF64).requires_grad_();
  CHECK(same(normalize(x), zeros({2, 3}, kF64)));
  CHECK(same(gradient(normalize(x), x), full({2, 3}, 1e12, kF64)));
}

TEST_CASE("logsumexp and softmax of infinities and large numbers", "[unit]") {
  const Tensor x = f64({-kInf, -kInf}).requires_grad_();
  CHECK(logsumexp(x).item() == -kInf);
  CHECK(same(gradient(logsumexp(x), x), f64({0, 0})));
  CHECK(logsumexp(f64({1, kInf})).item() == kInf);
  CHECK(logsumexp(f64({kInf, kInf})).item() == kInf);
  CHECK(logsumexp(f64({-kInf, 3})).item() == 3);
  const Tensor big = f64({1000, 1000}).requires_grad_();
  CHECK(logsumexp(big).item() == 1000 + std::log(2.0));
  CHECK(same(round(gradient(logsumexp(big), big) * 1e6), f64({5e5, 5e5})));
  CHECK(same(softmax(f64({-kInf, 1000, 1000}), 0), f64({0, 0.5, 0.5})));
  CHECK(same(log_softmax(f64({-kInf, 1000}), 0), f64({-kInf, 0})));
  CHECK(log_softmax(f64({0, 1000}), 0).data<double>()[0] == -1000);
  CHECK(same(softmax(f64({-kInf, -kInf}), 0), f64({kNan, kNan})));
}

TEST_CASE("integers and booleans", "[unit]") {
  const Tensor bytes = tensor({200, 100, 0}, {.dtype = DType::u8});
  CHECK(same(sum(bytes), full({}, 300, {.dtype = DType::i64})));
  CHECK(same(cumsum(bytes, 0), i64({200, 300, 300})));
  CHECK(same(amax(bytes), full({}, 200, {.dtype = DType::u8})));
  CHECK(same(max(bytes, 0).values, full({}, 200, {.dtype = DType::u8})));
  CHECK(same(sum(gt(bytes, 50)), full({}, 2, {.dtype = DType::i64})));
  CHECK(any(bytes).item<bool>());
  CHECK_FALSE(all(bytes).item<bool>());
  CHECK(same(all(reshape(ne(bytes, 7), {3, 1}), {0}), tensor({1}, {.dtype = DType::boolean})));
  const std::int64_t large = (std::int64_t{1} << 60) + 1;
  Tensor x = empty({2}, {.dtype = DType::i64});
  x.data<std::int64_t>()[0] = large;
  x.data<std::int64_t>()[1] = 2;
  CHECK(sum(x).item<std::int64_t>() == large + 2);
  CHECK(amax(x).item<std::int64_t>() == large);
  CHECK(softmax(i64({0, 0}), 0).dtype() == DType::f32);
  CHECK_THROWS_WITH(mean(bytes), ContainsSubstring("[mean] expected a floating dtype, got u8"));
  CHECK_THROWS_WITH(var(bytes), ContainsSubstring("[var] expected a floating dtype, got u8"));
}

TEST_CASE("wrong dimensions are refused by name", "[unit]") {
  const Tensor x = zeros({2, 3});
  CHECK_THROWS_WITH(sum(x, {2}), ContainsSubstring("[sum] expected a dimension in [-2, 1], got 2"));
  CHECK_THROWS_WITH(sum(x, {std::int64_t{1} << 32}), ContainsSubstring("got 4294967296"));
  CHECK_THROWS_WITH(mean(x, {0, -2}), ContainsSubstring("[mean] expected each dimension once"));
  CHECK_THROWS_WITH(softmax(x, 2), ContainsSubstring("[softmax] expected a dimension"));
  CHECK_THROWS_WITH(argmax(x, -3), ContainsSubstring("[argmax] expected a dimension"));
}

TEST_CASE("the gradient of a product whose parts leave f32", "[unit]") {
  const Tensor x = tensor({1e30, 1e-30, 1e30, 1e-30}).requires_grad_();
  prod(x).backward();
  const Tensor relative = x.grad() * x.detach() - 1.0;
  CHECK(amax(abs(relative)).item() < 1e-6);
}

TEST_CASE("f32 sums are accumulated in f64", "[unit]") {
  const Tensor x = full({3000000}, 0.1);
  CHECK(std::abs(sum(x).item() - 300000.0044703484) < 0.02);
  CHECK(std::abs(cumsum(x, 0).data<float>()[2999999] - 300000.0044703484) < 0.02);
  CHECK(std::abs(sum(reshape(x, {1000000, 3}), {0}).data<float>()[1] - 100000.00149) < 0.01);
}

TEST_CASE("the same bits for any number of threads", "[unit]") {
  Generator generator(5);
  const int before = omp_get_max_threads();
  for (const Dims& shape : {Dims{200000}, Dims{50000, 7}, Dims{5, 40000}, Dims{30, 100, 70}}) {
    const Tensor x = randn(shape, {}, generator);
    const auto all_of_them = [&] {
      return Tensors{sum(x),  sum(x, {0}),  sum(x, {-1}),       var(x, {0}),
                     norm(x), logsumexp(x), logsumexp(x, {-1}), softmax(x, -1)};
    };
    omp_set_num_threads(1);
    const Tensors one = all_of_them();
    omp_set_num_threads(3);
    const Tensors three = all_of_them();
    for (std::size_t i = 0; i < one.size(); ++i) {
      INFO("shape " << to_string(shape) << " result " << i);
      CHECK(std::memcmp(one[i].raw_data(), three[i].raw_data(),
                        static_cast<std::size_t>(one[i].numel()) * sizeof(float)) == 0);
    }
  }
  omp_set_num_threads(before);
}

TEST_CASE("parallel_for: what pieces throw goes on to the caller", "[unit]") {
  const int before = omp_get_max_threads();
  for (const int threads : {1, 3}) {
    omp_set_num_threads(threads);
    CHECK_THROWS_WITH(cpu::parallel_for(100, 10,
                                        [](std::int64_t begin, std::int64_t) {
                                          check(begin < 50, "piece", "expected the first half");
                                        }),
                      "[piece] expected the first half");
  }
  omp_set_num_threads(before);
}
