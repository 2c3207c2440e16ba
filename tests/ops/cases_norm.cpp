// Normalisation and dropout: values, gradients, running statistics, hard numbers.
#include <omp.h>

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

/// (x - mean) / sqrt(var + eps) over `dims`, in long double where it matters not to cancel.
Tensor naive_standardize(const Tensor& x, const Dims& dims, double eps) {
  const Tensor centred = x - mean(x, dims, true);
  return centred / sqrt(mean(square(centred), dims, true) + eps);
}

Dims all_but_last(const Dims& shape) {
  Dims dims;
  for (int i = 0; i + 1 < shape.size(); ++i) dims.push_back(i);
  return dims;
}

/// With the dtype of `like`, and on its device.
Tensor as(const Tensor& x, const Tensor& like) {
  return to(to(x, like.dtype()), like.device()).detach();
}

OpCases cases() {
  OpCases all;
  // The sine afterwards: sums of a batch-norm's outputs hardly depend on its inputs.
  for (const Dims& shape : {Dims{2, 3, 4, 5},
                            {7, 3},
                            {2, 1},
                            {3, 4, 1},
                            {2, 1, 1, 3},
                            {1, 2, 3, 4},
                            {2, 2, 2, 2, 3},
                            {130, 3},
                            {0, 3},
                            {0, 2, 2, 3},
                            {2, 3, 0}}) {
    const Dims c{shape.back()};
    const bool hard = shape == Dims{2, 1};  // two values: +-1, gradients nearly 0
    all.push_back({.name = fmt::format("batch_norm {}", shape),
                   .inputs = {real(shape), real(c), real(c)},
                   .f = [](const Tensors& x) { return sin(batch_norm(x[0], {}, {}, x[1], x[2])); },
                   .reference =
                       [](const Tensors& x) {
                         const Tensor s = naive_standardize(x[0], all_but_last(x[0].shape()), 1e-5);
                         return sin(s * x[1] + x[2]);
                       },
                   .f32_tolerance = hard ? 1e-3 : 1e-5});
    all.push_back({.name = fmt::format("batch_norm without weight and bias {}", shape),
                   .inputs = {real(shape)},
                   .f = [](const Tensors& x) {
                     return sin(batch_norm(x[0], {}, {}, {}, {}, {.eps = 1e-3}));
                   }});
    all.push_back({.name = fmt::format("batch_norm, not training {}", shape),
                   .inputs = {real(shape), real(c), real(c)},
                   .f =
                       [](const Tensors& x) {
                         const Tensor running_mean =
                             as(arange(0, static_cast<double>(x[1].numel())), x[0]);
                         return sin(batch_norm(x[0], running_mean, running_mean + 0.5, x[1], x[2],
                                               {.training = false}));
                       },
                   .reference =
                       [](const Tensors& x) {
                         const Tensor m = as(arange(0, static_cast<double>(x[1].numel())), x[0]);
                         return sin((x[0] - m) / sqrt(m + 0.5 + 1e-5) * x[1] + x[2]);
                       }});
  }
  for (const Dims& shape : {Dims{2, 3, 4, 5}, {7, 3}, {3, 1}, {1, 2, 3, 4}, {130, 3}, {0, 3}}) {
    const Dims c{shape.back()};
    for (const bool training : {true, false}) {
      const auto f = [training](const Tensors& x) {
        const Tensor running = as(ones({x[1].numel()}), x[0]) * 0.5;
        return sin(batch_norm_relu(x[0], running, running, x[1], x[2],
                                   {.training = training, .momentum = 0},
                                   x.size() > 3 ? x[3] : Tensor()));
      };
      const auto reference = [training](const Tensors& x) {
        const Tensor s = training ? naive_standardize(x[0], all_but_last(x[0].shape()), 1e-5)
                                  : (x[0] - 0.5) / sqrt(full({}, 0.5 + 1e-5, x[0].options()));
        const Tensor z = s * x[1] + x[2];
        return sin(relu(x.size() > 3 ? z + x[3] : z));
      };
      const char* mode = training ? "training" : "not training";
      all.push_back({.name = fmt::format("batch_norm_relu, {} {}", mode, shape),
                     .inputs = {real(shape), real(c), real(c)},
                     .f = f,
                     .reference = reference,
                     .bf16_tolerance = 0.05,  // the sine of numbers up to 10
                     .kinks = true});
      all.push_back({.name = fmt::format("batch_norm_relu with a residual, {} {}", mode, shape),
                     .inputs = {real(shape), real(c), real(c), real(shape)},
                     .f = f,
                     .reference = reference,
                     .bf16_tolerance = 0.05,  // the sine of numbers up to 10
                     .kinks = true});
    }
  }
  const std::pair<Dims, Dims> layers[] = {
      {{4, 6}, {6}}, {{2, 3, 4}, {4}},       {{2, 3, 4}, {3, 4}},
      {{5}, {5}},    {{2, 3, 4}, {2, 3, 4}}, {{3, 40}, {40}},
      {{0, 4}, {4}}, {{4, 0}, {0}},          {{2, 3, 2, 5}, {5}}};
  for (const auto& [shape, normalized] : layers) {
    Dims dims;
    for (int i = shape.size() - normalized.size(); i < shape.size(); ++i) dims.push_back(i);
    all.push_back(
        {.name = fmt::format("layer_norm {} over {}", shape, normalized),
         .inputs = {real(shape), real(normalized), real(normalized)},
         .f = [normalized = normalized](
                  const Tensors& x) { return sin(layer_norm(x[0], normalized, x[1], x[2])); },
         .reference =
             [dims](const Tensors& x) {
               return sin(naive_standardize(x[0], dims, 1e-5) * x[1] + x[2]);
             },
         .f32_tolerance = 3e-5});
    all.push_back(
        {.name = fmt::format("layer_norm without weight and bias {}", shape),
         .inputs = {real(shape)},
         .f = [normalized = normalized](
                  const Tensors& x) { return sin(layer_norm(x[0], normalized, {}, {}, 1e-3)); },
         .f32_tolerance = 3e-5});
  }
  for (const double p : {0.0, 0.3, 1.0}) {
    all.push_back({.name = fmt::format("dropout {}", p),
                   .inputs = {real({4, 3, 5})},
                   .f = [p](const Tensors& x) {
                     Generator generator(5);
                     return square(dropout(x[0], p, true, generator));
                   }});
  }
  return all;
}

const TensorOptions kF64{.dtype = DType::f64};

}  // namespace

TEST_CASE("norm: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("norm: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("norm: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("batch_norm: running statistics move once per training call", "[unit]") {
  Generator generator(6);
  const Tensor x = randn({5, 2, 3}, kF64, generator).requires_grad_();
  const Tensor running_mean = full({3}, 2, kF64), running_var = full({3}, 3, kF64);
  const Tensor y = batch_norm(x, running_mean, running_var, {}, {}, {.momentum = 0.25});
  const Tensor m = mean(x.detach(), {0, 1});
  const Tensor unbiased = sum(square(x.detach() - m), {0, 1}) / 9;
  const auto check_statistics = [&] {
    for (std::int64_t c = 0; c < 3; ++c) {
      CHECK(running_mean.data<double>()[c] == Approx(0.75 * 2 + 0.25 * m.data<double>()[c]));
      CHECK(running_var.data<double>()[c] == Approx(0.75 * 3 + 0.25 * unbiased.data<double>()[c]));
    }
  };
  check_statistics();
  // Neither the fused backward pass nor a recorded one moves them again.
  const Tensor g = grad({sum(sin(y))}, {x}, {}, {.create_graph = true})[0];
  sum(square(g)).backward();
  check_statistics();
  batch_norm(x, running_mean, running_var, {}, {}, {.training = false});
  check_statistics();
  // Gradients stay right after later training calls have moved them.
  const Tensor eval = batch_norm(x, running_mean, running_var, {}, {}, {.training = false});
  const Tensor expected = 1 / sqrt(running_var + 1e-5);
  batch_norm(x, running_mean, running_var);
  x.set_grad({});
  sum(eval).backward();
  CHECK(x.grad().data<double>()[1] == Approx(expected.data<double>()[1]));
}

TEST_CASE("batch_norm: a call that finds no memory does not move running statistics", "[unit]") {
  const Tensor x = randn({1 << 18, 2});
  const Tensor running_mean = zeros({2}), running_var = ones({2});
  CachingAllocator& memory = allocator();
  memory.empty_cache();
  memory.set_limit(memory.stats().in_use + (std::size_t{1} << 20));
  CHECK_THROWS_AS(batch_norm(x, running_mean, running_var), Error);
  memory.set_limit(0);
  CHECK(norm(running_mean).item() == 0);
}

TEST_CASE("batch_norm: fused and recorded backward pass agree", "[unit]") {
  Generator generator(7);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const TensorOptions options{.dtype = dtype};
    const Tensor x = (randn({6, 3, 2, 5}, options, generator) * 3 + 2).detach().requires_grad_();
    const Tensor w = randn({5}, options, generator).requires_grad_();
    const Tensor b = randn({5}, options, generator).requires_grad_();
    const Tensor v = randn(x.shape(), options, generator);
    const auto gradients = [&](bool create_graph) {
      return grad({batch_norm(x, {}, {}, w, b)}, {x, w, b}, {v}, {.create_graph = create_graph});
    };
    const Tensors fused = gradients(false), recorded = gradients(true);
    for (std::size_t k = 0; k < 3; ++k) {
      const double scale = sum(abs(recorded[k])).item();
      CHECK(sum(abs(fused[k] - recorded[k])).item() < (dtype == DType::f32 ? 1e-5 : 1e-13) * scale);
    }
  }
}

TEST_CASE("batch_norm_relu: the numbers of the plain composition, bit by bit", "[unit]") {
  Generator generator(11);
  const auto same_bits = [](const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() &&
           std::memcmp(a.raw_data(), b.raw_data(), a.storage()->bytes()) == 0;
  };
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Dims& shape : {Dims{6, 3, 2, 5}, {700, 16}, {70, 64}, {9, 2100}, {65, 1}}) {
      for (const bool training : {true, false}) {
        for (const bool with_residual : {false, true}) {
          const TensorOptions options{.dtype = dtype};
          const Dims c{shape.back()};
          const Tensor x = (randn(shape, options, generator) * 3 + 2).detach().requires_grad_();
          const Tensor w = randn(c, options, generator).requires_grad_();
          const Tensor b = randn(c, options, generator).requires_grad_();
          const Tensor r = randn(shape, options, generator).requires_grad_();
          const Tensor v = randn(shape, options, generator);
          const BatchNormOptions o{.training = training};
          const auto run = [&](bool fused, bool create_graph) {
            const Tensor mean = full(c, 1, options), var = full(c, 2, options);
            Tensor y;
            if (fused) {
              y = batch_norm_relu(x, mean, var, w, b, o, with_residual ? r : Tensor());
            } else {
              const Tensor z = batch_norm(x, mean, var, w, b, o);
              y = relu(with_residual ? z + r : z);
            }
            Tensors all =
                grad({y}, {x, w, b, r}, {v}, {.create_graph = create_graph}, /*allow_unused=*/true);
            if (!with_residual) {
              CHECK_FALSE(all[3].defined());
              all[3] = v;
            }
            all.insert(all.end(), {y.detach(), mean, var});
            return all;
          };
          for (const bool create_graph : {false, true}) {
            const Tensors fused = run(true, create_graph), plain = run(false, create_graph);
            for (std::size_t k = 0; k < fused.size(); ++k) {
              INFO(fmt::format("{} {}, training {}, residual {}, create_graph {}, tensor {}", dtype,
                               shape, training, with_residual, create_graph, k));
              CHECK(same_bits(contiguous(fused[k].detach()), contiguous(plain[k].detach())));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("batch_norm: f32 statistics are right to a few units in the last place", "[unit]") {
  Generator generator(12);
  struct Data {
    double mean, deviation;
    bool outlier;      ///< the first row is far from all others
    double tolerance;  ///< of the variance, relative
  };
  for (const Data& data :
       {Data{0, 1, false, 3e-7}, Data{-3, 1e-3, false, 3e-7}, Data{1e4, 0.1, false, 3e-7},
        Data{1e6, 2, true, 2e-6}, Data{1e-6, 1e-8, false, 3e-7}, Data{0, 1e8, false, 3e-7}}) {
    for (const Dims& shape : {Dims{20011, 1}, {9001, 3}, {5003, 16}, {700, 64}, {67, 2100}}) {
      const Dims c{shape.back()};
      Tensor x = to(randn(shape, kF64, generator) * data.deviation + data.mean, DType::f32);
      if (data.outlier) {
        for (std::int64_t i = 0; i < c[0]; ++i) x.data<float>()[i] *= 3;
      }
      const Tensor mean_f32 = zeros(c), var_f32 = zeros(c);
      batch_norm(x, mean_f32, var_f32, {}, {}, {.momentum = 1});
      const Tensor exact = to(x, DType::f64), centre = mean(exact, {0});
      const Tensor variance = var(exact, {0});
      const Tensor mean_error = abs(to(mean_f32, DType::f64) - centre);
      const Tensor rounding = abs(centre) * 6e-8;  // of the mean to f32
      CHECK(amax((mean_error - rounding) / sqrt(variance), {0}).item() <= 1e-7);
      CHECK(amax(abs(to(var_f32, DType::f64) - variance) / variance, {0}).item() <= data.tolerance);
    }
  }
}

TEST_CASE("batch_norm: a mean far from zero costs no accuracy", "[unit]") {
  Generator generator(8);
  const std::int64_t rows = 5000;
  for (const double offset : {1e4, -1e6}) {
    // f32 values with a spacing of 1/16 at 1e6: exact in both dtypes.
    const Tensor x = to(randn({rows, 3}, {}, generator) * 4 + offset, DType::f32);
    const Tensor exact = naive_standardize(to(x, DType::f64), {0}, 1e-5);
    const Tensor y = batch_norm(x, {}, {});
    const Tensor worst = to(y, DType::f64) - exact;
    // What remains is the rounding of the mean to f32.
    const double rounding = std::abs(offset) * 6e-8 / 4;
    CHECK(sum(square(worst)).item() < rows * 3 * (rounding * rounding + 1e-12));
    const Tensor in_f64 = batch_norm(to(x, DType::f64), {}, {});
    CHECK(sum(abs(in_f64 - exact)).item() < 1e-8 * rows * 3);
  }
  // A first value unlike all others (the shift of the one-pass formula).
  const Tensor x = randn({1000, 2}, kF64, generator);
  for (std::int64_t i = 0; i < 2; ++i) x.data<double>()[i] = 1e9;
  const Tensor exact = naive_standardize(x, {0}, 1e-5);
  CHECK(sum(abs(batch_norm(x, {}, {}) - exact)).item() < 1e-9 * 2000);
  // Equal values: variance exactly 0.
  const Tensor same = full({100, 2}, 0.1);
  CHECK(sum(abs(batch_norm(same, {}, {}))).item() == 0);
}

TEST_CASE("norm: the same bits for one thread and for two", "[unit]") {
  Generator generator(9);
  const auto run = [&](const Tensor& x, int threads) -> Tensors {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    const Tensor leaf = x.detach().requires_grad_();
    const Tensor w = full({x.size(-1)}, 1.5, x.options()).requires_grad_();
    const Tensor u = batch_norm_relu(leaf, {}, {}, w);
    const Tensor y = batch_norm_relu(batch_norm(u, {}, {}), {}, {}, w, {}, {}, leaf);
    const Tensor z = layer_norm(y, {x.size(-1)});
    sum(z * square(leaf)).backward();
    omp_set_num_threads(before);
    return {y, z, leaf.grad(), w.grad()};
  };
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Dims& shape : {Dims{9000, 30}, {150, 2100}}) {
      const Tensor x = randn(shape, {.dtype = dtype}, generator);
      const Tensors one = run(x, 1), two = run(x, 2);
      for (std::size_t k = 0; k < one.size(); ++k) {
        CHECK(std::memcmp(one[k].raw_data(), two[k].raw_data(), one[k].storage()->bytes()) == 0);
      }
    }
  }
}

TEST_CASE("dropout: keeps the mean, keeps each element with probability 1 - p", "[unit]") {
  Generator generator(10);
  const Tensor x = ones({200000});
  const GeneratorState at = generator.state();
  const Tensor y = dropout(x, 0.25, true, generator);
  CHECK(mean(y).item() == Approx(1).margin(0.01));
  for (std::int64_t i = 0; i < 1000; ++i) {
    const bool kept = random_bernoulli(at.seed, at.offset, static_cast<std::uint64_t>(i), 0.75);
    CHECK(y.data<float>()[i] == (kept ? 1 / 0.75f : 0.0f));
  }
  CHECK(dropout(x, 0.25, false).is_same(x));
  CHECK(dropout(x, 0).is_same(x));
  const Tensor infinite = full({3}, HUGE_VAL);
  CHECK(sum(dropout(infinite, 1)).item() == 0);
  CHECK_FALSE(generator.state() == at);
}

TEST_CASE("norm: errors say what is wrong", "[unit]") {
  const Tensor x = zeros({4, 2}), one = zeros({1, 2});
  const Tensor m = zeros({2}), v = ones({2});
  CHECK_THROWS_WITH(batch_norm(one, m, v), ContainsSubstring("more than one value per channel"));
  CHECK_THROWS_WITH(batch_norm(zeros({2}), m, v), ContainsSubstring("expected input [N,...,C]"));
  CHECK_THROWS_WITH(
      batch_norm(x, zeros({3}), v),
      ContainsSubstring(
          "expected running_mean f32 [2] on cpu (input is f32 [4, 2]), got f32 [3] on cpu"));
  CHECK_THROWS_WITH(batch_norm(x, m, v, to(v, DType::f64)),
                    ContainsSubstring("expected weight f32"));
  CHECK_THROWS_WITH(batch_norm(x, m, {}, {}, {}, {.training = false}),
                    ContainsSubstring("expected running statistics, got none"));
  CHECK_THROWS_WITH(batch_norm(to(x, DType::i64), {}, {}),
                    ContainsSubstring("expected a floating dtype"));
  CHECK_THROWS_WITH(batch_norm(x, zeros({2}).requires_grad_(), v),
                    ContainsSubstring("running statistics without history"));
  CHECK_THROWS_WITH(batch_norm_relu(one, m, v),
                    ContainsSubstring("[batch_norm_relu] expected more"));
  CHECK_THROWS_WITH(
      batch_norm_relu(x, m, v, {}, {}, {}, one),
      ContainsSubstring(
          "expected residual f32 [4, 2] on cpu (input is f32 [4, 2]), got f32 [1, 2] on cpu"));
  CHECK_THROWS_WITH(layer_norm(x, {4}), ContainsSubstring("whose last sizes are [4]"));
  CHECK_THROWS_WITH(layer_norm(x, {}),
                    ContainsSubstring("a normalized_shape of at least one dimension, got []"));
  CHECK_THROWS_WITH(layer_norm(x, {2}, zeros({3})), ContainsSubstring("expected weight f32 [2]"));
  CHECK_THROWS_WITH(dropout(x, 1.5),
                    ContainsSubstring("expected a probability in [0, 1], got 1.5"));
}

}  // namespace invar::test
