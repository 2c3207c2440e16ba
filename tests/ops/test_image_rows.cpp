// Narrow images side by side give the convolutions of each by itself, in all three passes.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <invar/core/random.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cpu/image_rows.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>

using namespace invar;
using cpu::ImageRows;

namespace {

struct Case {
  Dims x, weight;  ///< [N, H, W, C], [O, kh, kw, C]
  Size2 padding = 1, stride = 1;

  Conv2dOptions options() const { return {.stride = stride, .padding = padding}; }
};

struct Problem {
  Tensor x, weight, gradient;
  explicit Problem(const Case& c) {
    manual_seed(3);
    x = randn(c.x, {.dtype = DType::f64});
    weight = randn(c.weight, {.dtype = DType::f64});
    const Tensor y = conv2d(x, weight, {}, c.options());
    gradient = randn(y.shape(), {.dtype = DType::f64});
  }
};

/// Root mean square of a - b relative to that of b.
double relative_error(const Tensor& a, const Tensor& b) {
  return std::sqrt((sum(square(to(a, DType::f64) - b)) / sum(square(b))).item());
}

Tensor unpacked(const ImageRows& rows, const Tensor& wide, std::int64_t pitch, const Dims& shape) {
  Tensor out = empty(shape, wide.options());
  rows.unpack(wide, pitch, out);
  return out;
}

struct DirectScope {
  DirectScope() { set_conv_algorithm(ConvAlgorithm::direct); }
  ~DirectScope() { set_conv_algorithm(before); }
  ConvAlgorithm before = conv_algorithm();
};

}  // namespace

TEST_CASE("images side by side are convolved as each by itself", "[unit][conv2d]") {
  const Case c =
      GENERATE(Case{{32, 4, 4, 3}, {5, 3, 3, 3}}, Case{{64, 3, 1, 2}, {3, 3, 3, 2}},
               Case{{20, 7, 6, 2}, {3, 5, 5, 2}, 2}, Case{{48, 8, 8, 3}, {4, 3, 3, 3}, 1, 2},
               Case{{22, 5, 5, 2}, {3, 3, 3, 2}, 1, 2}, Case{{64, 6, 6, 2}, {3, 2, 2, 2}, 0, 2},
               Case{{24, 9, 7, 2}, {2, 3, 5, 2}, Size2(0, 2), Size2(3, 1)});
  CAPTURE(c.x, c.weight);
  const Problem p(c);
  const auto rows = cpu::image_rows(c.x, c.weight, c.options());
  REQUIRE(rows);
  const Tensor x = rows->pack(p.x, rows->x_pitch), g = rows->pack(p.gradient, rows->y_pitch);
  CHECK(x.size(2) >= 64);
  const Tensor y = conv2d(x, p.weight, {}, c.options());
  REQUIRE(y.shape() == g.shape());
  CHECK(relative_error(unpacked(*rows, y, rows->y_pitch, p.gradient.shape()),
                       conv2d(p.x, p.weight, {}, c.options())) < 1e-14);
  const Tensor dx = conv2d_backward_input(g, p.weight, x.shape(), c.options());
  CHECK(relative_error(unpacked(*rows, dx, rows->x_pitch, c.x),
                       conv2d_backward_input(p.gradient, p.weight, c.x, c.options())) < 1e-14);
  CHECK(relative_error(conv2d_backward_weight(g, x, c.weight, c.options()),
                       conv2d_backward_weight(p.gradient, p.x, c.weight, c.options())) < 1e-13);
}

TEST_CASE("images stand alone where they cannot stand side by side", "[unit][conv2d]") {
  const auto rows = [](const Case& c) { return cpu::image_rows(c.x, c.weight, c.options()); };
  CHECK_FALSE(rows({{32, 4, 4, 3}, {5, 3, 3, 3}, 0}));   // y is narrower than x
  CHECK_FALSE(rows({{32, 4, 4, 3}, {5, 3, 3, 3}, 2}));   // y is wider than x
  CHECK_FALSE(rows({{32, 4, 4, 3}, {5, 1, 1, 3}, 0}));   // sees no neighbours
  CHECK_FALSE(rows({{127, 4, 4, 3}, {5, 3, 3, 3}, 1}));  // a prime number of images
  CHECK_FALSE(rows({{4, 4, 4, 3}, {5, 3, 3, 3}, 1}));    // too few
  CHECK_FALSE(cpu::image_rows({32, 4, 4, 3}, {5, 3, 3, 3}, {.padding = 1, .dilation = 2}));
}

// Direct: on a processor with AMX, rows of images.
TEST_CASE("bf16 convolutions of narrow images", "[unit][conv2d]") {
  const Case c =
      GENERATE(Case{{32, 4, 4, 64}, {48, 3, 3, 64}}, Case{{32, 8, 8, 32}, {32, 3, 3, 32}},
               Case{{32, 8, 8, 32}, {64, 3, 3, 32}, 1, 2}, Case{{17, 4, 4, 32}, {32, 3, 3, 32}});
  CAPTURE(c.x, c.weight);
  const DirectScope direct;
  const Problem p(c);
  const Tensor x = to(p.x, DType::bf16), w = to(p.weight, DType::bf16),
               g = to(p.gradient, DType::bf16);
  const auto f64 = [](const Tensor& t) { return to(t, DType::f64); };
  CHECK(relative_error(conv2d(x, w, {}, c.options()), conv2d(f64(x), f64(w), {}, c.options())) <
        4e-3);
  CHECK(relative_error(conv2d_backward_input(g, w, c.x, c.options()),
                       conv2d_backward_input(f64(g), f64(w), c.x, c.options())) < 4e-3);
  CHECK(relative_error(conv2d_backward_weight(g, x, c.weight, c.options()),
                       conv2d_backward_weight(f64(g), f64(x), c.weight, c.options())) < 4e-3);
}
