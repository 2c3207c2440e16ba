// Convolution: its three maps, the cache of oneDNN primitives, errors.
#include <omp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cpu/conv_backward_weight.hpp>
#include <invar/ops/cpu/primitive_cache.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <limits>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

struct Shape {
  const char* name;
  Dims x, weight;
  Conv2dOptions o = {};
};

const std::vector<Shape> kShapes = {
    {"plain", {2, 5, 4, 3}, {4, 3, 3, 3}},
    {"padded", {2, 5, 4, 3}, {4, 3, 3, 3}, {.padding = 1}},
    {"strided", {2, 7, 8, 3}, {5, 3, 3, 3}, {.stride = 2, .padding = 1}},
    {"pointwise", {2, 3, 4, 9}, {7, 1, 1, 9}},
    {"pointwise, strided", {2, 5, 4, 3}, {2, 1, 1, 3}, {.stride = 2}},
    {"stride > kernel", {1, 9, 8, 2}, {3, 2, 2, 2}, {.stride = 3}},
    {"padding > kernel / 2", {1, 3, 4, 2}, {3, 3, 3, 2}, {.padding = 2}},
    {"padding > kernel", {1, 2, 3, 2}, {3, 2, 2, 2}, {.padding = 3}},
    {"stem", {1, 9, 8, 3}, {2, 7, 7, 3}, {.stride = 2, .padding = 3}},
    {"dilated", {1, 7, 6, 2}, {3, 3, 2, 2}, {.padding = 2, .dilation = {2, 3}}},
    {"unequal", {2, 6, 5, 2}, {3, 1, 3, 2}, {.stride = {1, 2}, .padding = {0, 1}}},
    {"groups", {2, 4, 5, 4}, {6, 3, 3, 2}, {.padding = 1, .groups = 2}},
    {"depthwise", {2, 4, 5, 4}, {4, 3, 3, 1}, {.padding = 1, .groups = 4}},
    {"depthwise, two each", {1, 4, 3, 3}, {6, 3, 3, 1}, {.padding = 1, .groups = 3}},
    {"everything",
     {2, 9, 7, 4},
     {6, 3, 2, 2},
     {.stride = {2, 3}, .padding = {2, 1}, .dilation = {2, 1}, .groups = 2}},
    {"kernel as large as the image", {3, 4, 3, 2}, {5, 4, 3, 2}},
    {"one of everything", {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"one channel", {2, 5, 4, 1}, {1, 3, 3, 1}, {.padding = 1}},
    {"empty batch", {0, 5, 4, 3}, {4, 3, 3, 3}, {.padding = 1}},
    {"no input channels", {2, 3, 2, 0}, {4, 3, 3, 0}, {.padding = 1}},
    {"no output channels", {2, 3, 2, 3}, {0, 3, 3, 3}, {.padding = 1}},
    // several tiles and pieces of the f64 kernel
    {"many pixels", {3, 17, 13, 5}, {19, 3, 3, 5}, {.padding = 1}},
    {"many channels", {1, 3, 3, 70}, {65, 2, 2, 70}},
    {"many, both ways", {2, 5, 6, 17}, {19, 3, 2, 17}, {.stride = {2, 1}, .padding = {1, 2}}},
    {"many, strided", {2, 15, 14, 17}, {9, 3, 3, 17}, {.stride = 2, .padding = 1}},
};

Dims output_shape(const Shape& s) {
  const Conv2dOptions& o = s.o;
  return {s.x[0],
          window_count(s.x[1], s.weight[1], o.stride.height, o.padding.height, o.dilation.height),
          window_count(s.x[2], s.weight[2], o.stride.width, o.padding.width, o.dilation.width),
          s.weight[0]};
}

/// Calls term(y, x, weight) with the element offsets of every product in the definition of y.
template <class Term>
void for_terms(const Shape& s, const Term& term) {
  const Dims y = output_shape(s);
  const std::int64_t inputs = s.weight[3], outputs = s.weight[0] / s.o.groups;
  const Dims ys = contiguous_strides(y), xs = contiguous_strides(s.x),
             ws = contiguous_strides(s.weight);
  for (std::int64_t n = 0; n < y[0]; ++n) {
    for (std::int64_t p = 0; p < y[1]; ++p) {
      for (std::int64_t q = 0; q < y[2]; ++q) {
        for (std::int64_t o = 0; o < y[3]; ++o) {
          for (std::int64_t a = 0; a < s.weight[1]; ++a) {
            for (std::int64_t b = 0; b < s.weight[2]; ++b) {
              const std::int64_t h =
                  p * s.o.stride.height - s.o.padding.height + a * s.o.dilation.height;
              const std::int64_t w =
                  q * s.o.stride.width - s.o.padding.width + b * s.o.dilation.width;
              if (h < 0 || h >= s.x[1] || w < 0 || w >= s.x[2]) continue;
              for (std::int64_t i = 0; i < inputs; ++i) {
                term(n * ys[0] + p * ys[1] + q * ys[2] + o,
                     n * xs[0] + h * xs[1] + w * xs[2] + o / outputs * inputs + i,
                     o * ws[0] + a * ws[1] + b * ws[2] + i);
              }
            }
          }
        }
      }
    }
  }
}

OpCases cases() {
  OpCases all;
  for (const Shape& s : kShapes) {
    const Dims y = output_shape(s);
    const auto f64_zeros = [](const Dims& shape) { return zeros(shape, {.dtype = DType::f64}); };
    all.push_back({.name = fmt::format("conv2d, {}", s.name),
                   .inputs = {real(s.x), real(s.weight), real({s.weight[0]})},
                   .f = [s](const Tensors& x) { return conv2d(x[0], x[1], x[2], s.o); },
                   .reference = [s, y, f64_zeros](const Tensors& x) -> Tensors {
                     const Tensor out = clone(f64_zeros(y) + x[2]);
                     for_terms(s, [&](std::int64_t to, std::int64_t from, std::int64_t w) {
                       out.data<double>()[to] += x[0].data<double>()[from] * x[1].data<double>()[w];
                     });
                     return {out};
                   }});
    all.push_back({.name = fmt::format("conv2d without bias, {}", s.name),
                   .inputs = {real(s.x), real(s.weight)},
                   .f = [s](const Tensors& x) { return conv2d(x[0], x[1], {}, s.o); }});
    all.push_back(
        {.name = fmt::format("conv2d_backward_input, {}", s.name),
         .inputs = {real(y), real(s.weight)},
         .f = [s](const Tensors& x) { return conv2d_backward_input(x[0], x[1], s.x, s.o); },
         .reference = [s, f64_zeros](const Tensors& x) -> Tensors {
           const Tensor out = f64_zeros(s.x);
           for_terms(s, [&](std::int64_t from, std::int64_t to, std::int64_t w) {
             out.data<double>()[to] += x[0].data<double>()[from] * x[1].data<double>()[w];
           });
           return {out};
         }});
    all.push_back(
        {.name = fmt::format("conv2d_backward_weight, {}", s.name),
         .inputs = {real(y), real(s.x)},
         .f = [s](const Tensors& x) { return conv2d_backward_weight(x[0], x[1], s.weight, s.o); },
         .reference = [s, f64_zeros](const Tensors& x) -> Tensors {
           const Tensor out = f64_zeros(s.weight);
           for_terms(s, [&](std::int64_t g, std::int64_t from, std::int64_t to) {
             out.data<double>()[to] += x[0].data<double>()[g] * x[1].data<double>()[from];
           });
           return {out};
         }});
  }
  return all;
}

}  // namespace

TEST_CASE("conv: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("conv: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("conv: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("conv: the same bits for one thread and for two", "[unit]") {
  const Conv2dOptions o{.stride = 2, .padding = 1};
  Generator generator(3);
  const Tensor x = randn({7, 41, 43, 32}, {}, generator);
  const Tensor w = randn({50, 3, 3, 32}, {}, generator);
  const Tensor y = conv2d(x, w, {}, o);
  const auto run = [&](int threads) -> Tensors {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    const Tensor x64 = to(x, DType::f64), w64 = to(w, DType::f64), y64 = to(y, DType::f64);
    Tensors all{conv2d(x64, w64, {}, o), conv2d_backward_input(y64, w64, x.shape(), o),
                conv2d_backward_weight(y64, x64, w.shape(), o)};
    // The one f32 kernel of our own, if it is compiled in.
    const Tensor dw = empty(w.shape());
    if (cpu::prefers_avx2_backward_weight(x.shape(), w.shape(), y.shape(), o)) {
      cpu::conv2d_backward_weight_avx2(y, x, o, dw);
      all.push_back(dw);
    }
    omp_set_num_threads(before);
    return all;
  };
  const Tensors one = run(1), two = run(2);
  for (std::size_t k = 0; k < one.size(); ++k) {
    CHECK(std::memcmp(one[k].raw_data(), two[k].raw_data(), one[k].storage()->bytes()) == 0);
  }
}

TEST_CASE("conv: f32 agrees with f64 on real layers, weight gradients over several blocks",
          "[unit]") {
  Generator generator(11);
  for (const Conv2dOptions& o :
       {Conv2dOptions{.padding = 1}, Conv2dOptions{.stride = 2, .padding = 1}}) {
    const Tensor x = randn({7, 40, 40, 32}, {}, generator);
    const Tensor w = randn({48, 3, 3, 32}, {}, generator);
    const Tensor g = randn(conv2d(x, w, {}, o).shape(), {}, generator);
    const auto compare = [&](const Tensor& f32, const Tensor& f64) {
      const Tensor difference = to(f32, DType::f64) - f64;
      CHECK(sum(square(difference)).item() < 1e-11 * sum(square(f64)).item());
    };
    const auto wide = [](const Tensor& t) { return to(t, DType::f64); };
    compare(conv2d(x, w, {}, o), conv2d(wide(x), wide(w), {}, o));
    compare(conv2d_backward_input(g, w, x.shape(), o),
            conv2d_backward_input(wide(g), wide(w), x.shape(), o));
    compare(conv2d_backward_weight(g, x, w.shape(), o),
            conv2d_backward_weight(wide(g), wide(x), w.shape(), o));
  }
}

TEST_CASE("conv: changing shapes do not make the primitive cache grow", "[unit]") {
  const std::size_t capacity = cpu::primitive_cache_stats().capacity;
  cpu::set_primitive_cache_capacity(8);
  const Tensor w = randn({4, 3, 3, 4});
  const auto before = cpu::primitive_cache_stats();
  for (std::int64_t size = 3; size < 23; ++size) conv2d(randn({1, size, size, 4}), w);
  const auto after = cpu::primitive_cache_stats();
  CHECK(after.entries <= 8);
  CHECK(after.misses >= before.misses + 20);
  CHECK(after.evictions >= before.evictions + 12);
  conv2d(randn({1, 22, 22, 4}), w);
  CHECK(cpu::primitive_cache_stats().misses == after.misses);
  CHECK(cpu::primitive_cache_stats().hits > after.hits);
  cpu::set_primitive_cache_capacity(capacity);
}

TEST_CASE("conv: errors say what is wrong", "[unit]") {
  const auto of = [](const Dims& x, const Dims& w, const Conv2dOptions& o = {}) {
    return [=] { conv2d(zeros(x), zeros(w), {}, o); };
  };
  const auto check_error = [](const std::function<void()>& f, const std::string& message) {
    INFO(message);
    CHECK_THROWS_AS(f(), Error);
    CHECK_THROWS_WITH(f(), ContainsSubstring(message));
  };
  check_error(of({8, 32, 32, 3}, {64, 3, 3, 64}),
              "[conv2d] expected input [N,H,W,C] with C = 64 (weight is [64, 3, 3, 64], groups 1), "
              "got [8, 32, 32, 3]");
  check_error(of({8, 3}, {64, 3, 3, 3}), "expected input [N,H,W,C], got [8, 3]");
  check_error(of({8, 4, 4, 3}, {64, 3, 3}), "expected weight [O,kh,kw,I], got [64, 3, 3]");
  check_error(of({8, 4, 4, 3}, {64, 0, 3, 3}), "expected a kernel of at least 1x1");
  check_error(of({8, 2, 9, 3}, {6, 3, 3, 3}), "expected an image of at least 3x3");
  check_error(of({8, 4, 4, 3}, {6, 3, 3, 3}, {.dilation = 2}), "of at least 5x5");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 1}, {.groups = 4}),
              "expected groups that divide the 6 output channels, got 4");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 4}, {.groups = 2}), "with C = 8");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 4}, {.groups = 0}), "expected groups");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 4}, {.stride = {1, 0}}), "expected stride of at least 1");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 4}, {.padding = -1}), "expected padding of at least 0");
  check_error(of({8, 4, 4, 4}, {6, 3, 3, 4}, {.padding = std::int64_t{1} << 62}),
              "expected padding");
  const Tensor x = zeros({1, 4, 4, 2}), w = zeros({3, 2, 2, 2});
  check_error([&] { conv2d(x, w, zeros({2})); }, "expected bias [3], got [2]");
  check_error([&] { conv2d(x, to(w, DType::f64)); }, "expected weight of dtype f32, got f64");
  check_error([&] { conv2d(to(x, DType::i64), to(w, DType::i64)); },
              "expected a floating dtype, got i64");
  check_error(
      [&] {
        conv2d_backward_input(x, w, {1, 4, 4, 2});
      },
      "expected a gradient of the output's shape [1, 3, 3, 3], got [1, 4, 4, 2]");
  check_error(
      [&] {
        conv2d_backward_weight(x, x, {3, 2, 2, 2});
      },
      "[conv2d_backward_weight] expected a gradient of the output's shape");
  const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  check_error([&] { conv2d_backward_input(x, w, {1, largest, 4, 2}); }, "at most 2^60 elements");
  check_error([&] { conv2d_backward_weight(x, x, {3, largest, 2, 2}); }, "at most 2^60 elements");
  check_error([&] { conv2d_backward_weight(x, x, {0, largest / 64, 2, 2}); }, "expected kernel of");
}

}  // namespace invar::test
