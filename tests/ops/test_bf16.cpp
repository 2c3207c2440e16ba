// bf16: how it is rounded, wherever that happens, and the policy of autocast op by op. What every
// operation makes of bf16 inputs is in op_case.cpp; networks under autocast are in tests/nn.
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/pool.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <map>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Bits of an f32 and of the bf16 nearest to it, ties to even.
struct Rounding {
  std::uint32_t f32;
  std::uint16_t bf16;
};

const std::vector<Rounding> kGolden = {
    {0x00000000, 0x0000}, {0x80000000, 0x8000},  // signed zeros
    {0x3f800000, 0x3f80}, {0xc0490fdb, 0xc049},  // 1, -pi
    {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80},  // below a tie; a tie, even below
    {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82},  // above a tie; a tie, even above
    {0xbf818000, 0xbf82}, {0x3f7fffff, 0x3f80},  // away from zero as well; up into the next binade
    {0x7f7f0000, 0x7f7f}, {0x7f7f7fff, 0x7f7f},  // the largest finite one; what still becomes it
    {0x7f7f8000, 0x7f80}, {0xff7fffff, 0xff80},  // and what is too large
    {0x7f800000, 0x7f80}, {0xff800000, 0xff80},  // infinities
    {0x00010000, 0x0001}, {0x00008000, 0x0000},  // the smallest denormal; a tie with zero
    {0x00008001, 0x0001}, {0x00018000, 0x0002},  // denormals are not flushed
    {0x007fffff, 0x0080},                        // the largest denormal, to the smallest normal
    {0x7fc00000, 0x7fc0}, {0xffc00000, 0xffc0},  // NaNs stay NaNs: quiet,
    {0x7f800001, 0x7fc0}, {0x7fffffff, 0x7fff},  // signalling; all bits set must not overflow
    {0xff80ffff, 0xffc0},
};

std::uint16_t bits_of(const Tensor& x, std::int64_t i) { return x.data<BFloat16>()[i].bits; }

/// The golden values, over and over: longer than vectors and scratch memory.
Tensor golden_input(std::int64_t n) {
  const Tensor x = empty({n});
  for (std::int64_t i = 0; i < n; ++i) {
    x.data<float>()[i] =
        std::bit_cast<float>(kGolden[static_cast<std::size_t>(i) % kGolden.size()].f32);
  }
  return x;
}

std::uint16_t golden(std::int64_t i) {
  return kGolden[static_cast<std::size_t>(i) % kGolden.size()].bf16;
}

}  // namespace

TEST_CASE("bf16: conversions match golden bits, dense and strided", "[unit]") {
  const std::int64_t n = 3001;
  const Tensor x = golden_input(n);
  const Tensor dense = to(x, DType::bf16);
  const Tensor every_third = to(slice(x, 0, 0, n, 3), DType::bf16);
  const Tensor reversed_twice = to(transpose(reshape(x, {1, n})), DType::bf16);
  for (std::int64_t i = 0; i < n; ++i) {
    REQUIRE(BFloat16(x.data<float>()[i]).bits == golden(i));
    REQUIRE(bits_of(dense, i) == golden(i));
    REQUIRE(bits_of(reversed_twice, i) == golden(i));
    if (i % 3 == 0) REQUIRE(bits_of(every_third, i / 3) == golden(i));
  }
  // Widening is exact: there and back again.
  const Tensor back = to(to(dense, DType::f32), DType::bf16);
  for (std::int64_t i = 0; i < n; ++i) REQUIRE(bits_of(back, i) == golden(i));
}

TEST_CASE("bf16: elementwise operations round the f32 result, whatever the layout", "[unit]") {
  Generator generator(5);
  const Tensor a = to(randn({37, 2, 41}, {}, generator), DType::bf16);
  const Tensor b = to(randn({41}, {}, generator), DType::bf16);
  const auto wide = [](const Tensor& x) { return to(x, DType::f32); };
  const auto same_bits = [](const Tensor& got, const Tensor& expected) {
    CHECK(got.dtype() == DType::bf16);
    CHECK(all(eq(got, to(expected, DType::bf16))).item<bool>());
  };
  const Tensor t = permute(a, {2, 0, 1}), s = slice(a, 0, 1, 30, 3);
  same_bits(a + b, wide(a) + wide(b));
  same_bits(exp(a), exp(wide(a)));
  same_bits(exp(t), exp(wide(t)));
  same_bits(s * b, wide(s) * wide(b));
  same_bits(a / 3, wide(a) / 3);
  same_bits(expand(b, {2, 41}) - select(s, 0, 1), wide(expand(b, {2, 41})) - wide(select(s, 0, 1)));
  same_bits(sum(t, {0}), sum(wide(t), {0}));
  same_bits(softmax(s, 0), softmax(wide(s), 0));
  const Tensor in_place = clone(a);
  add_(in_place, b);
  same_bits(in_place, wide(a) + wide(b));
}

TEST_CASE("bf16: sums of many terms do not stall", "[unit]") {
  // Added up in bf16 one after the other, ones would stop at 256.
  CHECK(sum(ones({20000}, {.dtype = DType::bf16})).item() == 19968);  // the bf16 next to 20000
  const Tensor row = ones({1, 5000}, {.dtype = DType::bf16});
  CHECK(matmul(row, transpose(row)).item() == 4992);
  for (const std::int64_t n : {257, 1000}) {  // 257 itself is not a bf16
    CHECK(mean(ones({n}, {.dtype = DType::bf16})).item() == 1);
  }
}

// --- autocast ------------------------------------------------------------------------------------

TEST_CASE("autocast: every line of the table does what it says", "[unit]") {
  const Tensor image = rand({2, 6, 6, 4}), kernel = rand({3, 3, 3, 4}), square = rand({4, 4});
  const Tensor spd = matmul(square, transpose(square)) + eye(4) * 4;
  const Tensor gradient = rand({2, 4, 4, 3}), labels = zeros({4}, {.dtype = DType::i64});
  using Function = std::function<Tensor(const Tensor&)>;
  // Each takes the one operand that is given in f32 and in bf16.
  const std::map<std::string_view, std::pair<Tensor, Function>> calls = {
      {"conv2d", {image, [&](const Tensor& x) { return conv2d(x, kernel); }}},
      {"conv2d_backward_input",
       {gradient,
        [&](const Tensor& x) { return conv2d_backward_input(x, kernel, image.shape()); }}},
      {"conv2d_backward_weight",
       {gradient,
        [&](const Tensor& x) { return conv2d_backward_weight(x, image, kernel.shape()); }}},
      {"einsum",
       {square,
        [&](const Tensor& x) {
          return einsum("ij,kj->ik", {x, square});
        }}},
      {"linear", {square, [&](const Tensor& x) { return linear(x, square); }}},
      {"matmul", {square, [&](const Tensor& x) { return matmul(x, square); }}},
      {"cumsum", {square, [](const Tensor& x) { return cumsum(x, 0); }}},
      {"layer_norm", {square, [](const Tensor& x) { return layer_norm(x, {4}); }}},
      {"logsumexp", {square, [](const Tensor& x) { return logsumexp(x); }}},
      {"norm", {square, [](const Tensor& x) { return norm(x); }}},
      {"normalize", {square, [](const Tensor& x) { return normalize(x); }}},
      {"prod", {square, [](const Tensor& x) { return prod(x); }}},
      {"softmax", {square, [](const Tensor& x) { return softmax(x, 0); }}},
      {"log_softmax", {square, [](const Tensor& x) { return log_softmax(x, 0); }}},
      {"std", {square, [](const Tensor& x) { return invar::std(x); }}},
      {"sum", {square, [](const Tensor& x) { return sum(x); }}},
      {"var", {square, [](const Tensor& x) { return var(x); }}},
      {"cross_entropy", {square, [&](const Tensor& x) { return cross_entropy(x, labels); }}},
      {"mse_loss", {square, [&](const Tensor& x) { return mse_loss(x, square); }}},
      {"cholesky", {spd, [](const Tensor& x) { return cholesky(x); }}},
      {"eigh", {spd, [](const Tensor& x) { return eigh(x).values; }}},
      {"eigvalsh", {spd, [](const Tensor& x) { return eigvalsh(x); }}},
      {"svdvals", {square, [](const Tensor& x) { return svdvals(x); }}},
      {"logdet", {spd, [](const Tensor& x) { return logdet(x); }}},
      {"solve_triangular",
       {spd, [&](const Tensor& x) { return solve_triangular(x, square, false); }}},
  };
  CHECK(calls.size() == std::size(kAutocastTable));
  for (const AutocastEntry& entry : kAutocastTable) {
    INFO(entry.op);
    REQUIRE(calls.contains(entry.op));
    const auto& [operand, f] = calls.at(entry.op);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor x = clone(to(operand, dtype)).requires_grad_();
      const Tensor plain = dtype == DType::f32 ? f(x) : Tensor();
      const Autocast guard(DType::bf16);
      const Tensor y = f(x);
      // The weight's gradient is the one result that is not rounded.
      const bool rounds = entry.op != "conv2d_backward_weight";
      CHECK(y.dtype() == (rounds ? entry.dtype : DType::f32));
      if (plain.defined()) {
        const double scale = amax(abs(plain)).item();
        const double error = amax(abs(to(y, DType::f32) - plain)).item();
        CHECK(error <= 0.02 * scale);
        CHECK((error > 0) == (entry.dtype == DType::bf16));  // f32 operands of an f32 op: the same
      }
      // Gradients have the dtype of what they belong to.
      const bool differentiable = !entry.op.starts_with("eig") && entry.op != "svdvals";
      if (differentiable) CHECK(grad({y}, {x}, {ones_like(y)})[0].dtype() == dtype);
    }
    const Autocast guard(DType::bf16);
    if (entry.op == "mse_loss" || entry.op == "solve_triangular" || entry.dtype == DType::bf16) {
      continue;  // the other operand is f32
    }
    CHECK(f(to(operand, DType::f64)).dtype() == DType::f64);
  }
}

TEST_CASE("autocast: what is not in the table keeps its dtype", "[unit]") {
  const Autocast guard(DType::bf16);
  const Tensor x = rand({2, 4, 4, 3}), half = to(x, DType::bf16);
  CHECK(relu(half).dtype() == DType::bf16);
  CHECK((half + half).dtype() == DType::bf16);
  CHECK((half + x).dtype() == DType::f32);
  CHECK(max_pool2d(half, 2).dtype() == DType::bf16);
  CHECK(adaptive_avg_pool2d(half, 1).dtype() == DType::bf16);
  CHECK(batch_norm(half, {}, {}, ones({3}), zeros({3})).dtype() == DType::bf16);
  CHECK(relu(x).dtype() == DType::f32);
  const Tensor exact = rand({2, 2}, {.dtype = DType::f64});
  CHECK(matmul(exact, exact).dtype() == DType::f64);
}

TEST_CASE("autocast: a scope of its thread, off in backward passes", "[unit]") {
  const Tensor w = rand({4, 4}).requires_grad_();
  const Tensor x = rand({2, 4});
  {
    const Autocast on(DType::bf16);
    CHECK(linear(x, w).dtype() == DType::bf16);
    {
      const Autocast off(DType::f32);
      CHECK(linear(x, w).dtype() == DType::f32);
    }
    CHECK(linear(x, w).dtype() == DType::bf16);
    // cholesky's rule multiplies matrices: f32 ones stay f32 although backward begins in here.
    const Tensor spd = (eye(4) * 2).requires_grad_();
    const Tensor inside = grad({sum(cholesky(spd))}, {spd})[0];
    CHECK(inside.dtype() == DType::f32);
    CHECK(std::abs(inside.data<float>()[0] - 0.5 / std::sqrt(2.0)) < 1e-6);
    bool seen = true;
    const Tensor y = sum(linear(x, w));
    y.register_hook([&](const Tensor& g) {
      seen = autocast_dtype != DType::f32;
      return g;
    });
    grad({y}, {w});
    CHECK_FALSE(seen);
  }
  CHECK(linear(x, w).dtype() == DType::f32);
  CHECK_THROWS_WITH(Autocast(DType::f64),
                    ContainsSubstring("expected bf16, or f32 (off), got f64"));
}

TEST_CASE("autocast: parameters stay f32, and their gradients are f32 sums", "[unit]") {
  Generator generator(2);
  const Tensor x = to(randn({64, 5, 5, 8}, {}, generator), DType::bf16);
  const Tensor w = randn({16, 3, 3, 8}, {}, generator).requires_grad_();
  const Tensor b = randn({16}, {}, generator).requires_grad_();
  const Tensor y = conv2d(x, w, b);
  const Tensor g = to(randn(y.shape(), {}, generator), DType::bf16);
  CHECK(y.dtype() == DType::bf16);
  const Tensors got = grad({y}, {w, b}, {g});
  // In f64, of the same bf16 numbers: far closer than a gradient that was rounded to bf16.
  const auto exact = [](const Tensor& t) { return to(t.detach(), DType::f64); };
  const Tensor dw = conv2d_backward_weight(exact(g), exact(x), w.shape()),
               db = sum(exact(g), {0, 1, 2});
  CHECK(got[0].dtype() == DType::f32);
  CHECK(got[1].dtype() == DType::f32);
  CHECK(amax(abs(exact(got[0]) - dw)).item() < 1e-4 * amax(abs(dw)).item());
  CHECK(amax(abs(exact(got[1]) - db)).item() < 1e-5 * amax(abs(db)).item());

  const Tensor rows = to(randn({50, 24}, {}, generator), DType::bf16);
  const Tensor v = randn({12, 24}, {}, generator).requires_grad_();
  const Tensor z = linear(rows, v);
  const Tensor h = to(randn(z.shape(), {}, generator), DType::bf16);
  const Tensor dv = grad({z}, {v}, {h})[0], expected = matmul(transpose(exact(h)), exact(rows));
  CHECK(dv.dtype() == DType::f32);
  CHECK(amax(abs(exact(dv) - expected)).item() < 1e-5 * amax(abs(expected)).item());
}

TEST_CASE("autocast: a weight is rounded once per change", "[unit]") {
  const Tensor w = rand({6, 5}).requires_grad_(), x = rand({3, 5});
  const Autocast guard(DType::bf16);
  const auto misses = [] { return cast_cache_stats().misses; };
  const std::uint64_t before = misses();
  const Tensor first = linear(x, w), second = linear(x, w);
  CHECK(misses() == before + 1);
  grad({first + second}, {w}, {ones_like(first)});
  CHECK(misses() == before + 1);
  {
    NoGrad no_history;
    mul_(w, 2);
  }
  CHECK(all(eq(linear(x, w), first * 2)).item<bool>());
  CHECK(misses() == before + 2);
  // Others are not kept.
  linear(x, w * 1);
  linear(x, w.detach());
  CHECK(misses() == before + 2);
  for (std::size_t i = 0; i < cast_cache_stats().capacity + 10; ++i) {
    linear(x, rand({6, 5}).requires_grad_());
  }
  CHECK(cast_cache_stats().entries == cast_cache_stats().capacity);
}
