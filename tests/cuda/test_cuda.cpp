// The GPU against the CPU, beside the cases of tests/ops (check_on_gpu): memory and streams, sizes
// at which work is divided, hard numbers, optimisers. Without a GPU only what a program is told
// then is tested; the rest is skipped, never passed.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <invar/autodiff/profiler.hpp>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/engine_ops.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/optimizer.hpp>
#include <invar/ops/pool.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

#include "gpu.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Both tensors' elements agree: exactly if they are no reals, else to a few units in the last
/// place (the GPU's transcendental functions are not the CPU's).
void check_same(const Tensor& gpu, const Tensor& cpu, double tolerance) {
  REQUIRE(gpu.device() == kGpu);
  REQUIRE(gpu.dtype() == cpu.dtype());
  REQUIRE(gpu.shape() == cpu.shape());
  const Tensor a = to(to(gpu, kCpu), DType::f64), b = to(contiguous(cpu), DType::f64);
  const double *const x = a.data<const double>(), *const y = b.data<const double>();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const bool same = (std::isnan(x[i]) && std::isnan(y[i])) || x[i] == y[i] ||
                      std::abs(x[i] - y[i]) <= tolerance * std::max(1.0, std::abs(y[i]));
    if (!same) FAIL("element " << i << " is " << x[i] << ", expected " << y[i]);
  }
}

double tolerance_of(DType dtype) {
  return dtype == DType::f32 ? 1e-6 : dtype == DType::f64 ? 1e-14 : 0;
}

using Function = std::function<Tensors(const Tensors&)>;

/// f of the inputs, of these without every second row, and of these transposed (in their first and
/// last dimension): outputs and the gradients of the sum of squares of the real outputs, on the GPU
/// and on the CPU.
void check_function(const Tensors& inputs, double tolerance, const Function& f,
                    bool gradients = false) {
  const auto run = [&](const Tensors& given) {
    Tensors leaves;
    for (const Tensor& x : given) {
      leaves.push_back(x.detach());
      if (gradients && is_floating(x.dtype())) leaves.back().requires_grad_();
    }
    Tensors all = f(leaves);
    if (gradients) {
      Tensor total = zeros({}, {.dtype = DType::f64, .device = leaves[0].device()});
      for (const Tensor& y : all) {
        if (y.requires_grad()) total = total + sum(square(to(y, DType::f64)));
      }
      total.backward();
      for (const Tensor& x : leaves) {
        if (x.requires_grad()) all.push_back(x.grad());
      }
    }
    return all;
  };
  const auto compare = [&](const char* layout, const std::function<Tensor(const Tensor&)>& change) {
    CAPTURE(layout);
    Tensors cpu, gpu;
    for (const Tensor& x : inputs) {
      cpu.push_back(change(x));
      gpu.push_back(change(to(x, kGpu)));
    }
    const Tensors expected = run(cpu), got = run(gpu);
    REQUIRE(expected.size() == got.size());
    for (std::size_t k = 0; k < got.size(); ++k) {
      CAPTURE(k);
      check_same(got[k].detach(), expected[k].detach(), tolerance);
    }
  };
  compare("dense", [](const Tensor& x) { return x; });
  compare("transposed",
          [](const Tensor& x) { return transpose(contiguous(transpose(x, 0, -1)), 0, -1); });
  compare("strided", [](const Tensor& x) {
    return slice(cat({x, x}, -1), -1, 0, 2 * x.size(-1), 2);
  });
}

Tensor with_hard_numbers(Tensor x) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const std::vector<double> hard{nan, -0.0, 0.0, inf, -inf, 1, 1, -nan, 0.0, -0.0};
  for (std::int64_t i = 0; i < x.numel(); i += 3) {
    fill_(slice(flatten(x), 0, i, i + 1), hard[static_cast<std::size_t>(i / 3) % hard.size()]);
  }
  return x;
}

}  // namespace

TEST_CASE("A program without CUDA or without a GPU is told so", "[unit]") {
  if (!cuda::is_built()) {
    CHECK(cuda::device_count() == 0);
    CHECK_THROWS_WITH(to(ones({2}), kGpu), ContainsSubstring("this build has no CUDA"));
  }
  const auto beyond = static_cast<std::int8_t>(cuda::device_count());
  CHECK_THROWS_AS(to(ones({2}), Device{DeviceType::cuda, beyond}), Error);
  CHECK_THROWS_AS(zeros({2}, {.device = {DeviceType::cuda, beyond}}), Error);
}

TEST_CASE("Tensors travel to the GPU and back", "[cuda]") {
  skip_without_gpu();
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    const Tensor x = to(randn({3, 5, 7}), dtype);
    check_same(to(x, kGpu), x, 0);
    check_same(to(transpose(x, 0, 2), kGpu), transpose(x, 0, 2), 0);
    check_same(to(zeros({0, 4}, {.dtype = dtype}), kGpu), zeros({0, 4}, {.dtype = dtype}), 0);
  }
  CHECK(to(full({1}, 2.5), kGpu).item() == 2.5);
  CHECK_THROWS_WITH(add(ones({2}), to(ones({2}), kGpu)), ContainsSubstring("expected all tensors"));
}

TEST_CASE("Elementwise operations agree with the CPU's", "[cuda]") {
  skip_without_gpu();
  using Unary = Tensor (*)(const Tensor&);
  const std::vector<std::pair<const char*, Unary>> reals{
      {"exp", exp},   {"expm1", expm1},   {"log", log},         {"log1p", log1p},
      {"sqrt", sqrt}, {"rsqrt", rsqrt},   {"sin", sin},         {"cos", cos},
      {"tanh", tanh}, {"erf", erf},       {"sigmoid", sigmoid}, {"relu", relu},
      {"silu", silu}, {"floor", floor},   {"round", round},     {"abs", abs},
      {"sign", sign}, {"square", square}, {"neg", neg}};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = randn({33, 5}, {.dtype = dtype}), row = randn({5}, {.dtype = dtype});
    const Tensor gx = to(x, kGpu), grow = to(row, kGpu);
    for (const auto& [name, f] : reals) {
      CAPTURE(name, dtype);
      check_same(f(gx), f(x), tolerance_of(dtype));
    }
    check_same(gx + grow, x + row, 0);
    check_same(gx - grow, x - row, 0);
    check_same(gx * grow, x * row, 0);
    check_same(transpose(gx, 0, 1) / reshape(grow, {5, 1}),
               transpose(x, 0, 1) / reshape(row, {5, 1}), 0);
    check_same(maximum(gx, grow), maximum(x, row), 0);
    check_same(lt(gx, grow), lt(x, row), 0);
    check_same(where(lt(gx, grow), gx, grow), where(lt(x, row), x, row), 0);
  }
}

TEST_CASE("Random numbers are the CPU's, bit for bit", "[cuda]") {
  skip_without_gpu();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto draw = [&](Device device) {
      manual_seed(5);
      return Tensors{randn({1003}, {.dtype = dtype, .device = device}),
                     rand({1003}, {.dtype = dtype, .device = device}),
                     randint(-3, 1000, {1003}, {.device = device})};
    };
    const Tensors gpu = draw(kGpu), cpu = draw(kCpu);
    for (std::size_t i = 0; i < gpu.size(); ++i) check_same(gpu[i], cpu[i], 0);
  }
}

TEST_CASE("Streams, events and pinned memory keep the order of a program", "[cuda]") {
  skip_without_gpu();
  const Tensor x = randn({1000, 300}), y = x * 2 + 1;
  const Tensor pinned = pin_memory(x);
  CHECK(pinned.device() == kCpu);
  CHECK(cuda::is_pinned(*pinned.storage()));
  Tensor on_side;
  {
    const cuda::Stream side(kGpu);
    const cuda::StreamScope scope(side);
    CHECK(cuda::current_stream(0) == side.get());
    const Tensor there = to(slice(pinned, 0, 500, 1000), kGpu, true);
    on_side = to(pinned, kGpu, true) * 2;
    check_same(there, slice(x, 0, 500, 1000), 0);
  }
  CHECK(cuda::current_stream(0) == nullptr);
  check_same(on_side + 1, y, 0);
  cuda::Event before(kGpu, /*timed=*/true), after(kGpu, /*timed=*/true);
  before.record();
  const Tensor z = on_side + 1;
  after.record();
  after.wait();
  after.synchronize();
  CHECK(after.query());
  CHECK(before.milliseconds_until(after) >= 0);
  check_same(to(y, kGpu, true), y, 0);  // not pinned: as ever
}

TEST_CASE("A GPU's memory is counted, limited and given back", "[cuda]") {
  skip_without_gpu();
  CachingAllocator& memory = allocator(kGpu);
  const std::size_t before = memory.stats().in_use;
  {
    const Tensor x = empty({1 << 20}, {.device = kGpu});
    CHECK(memory.stats().in_use == before + (std::size_t{4} << 20));
  }
  CHECK(memory.stats().in_use == before);
  memory.set_limit(before + (std::size_t{64} << 20));
  CHECK_THROWS_WITH(empty({1 << 26}, {.device = kGpu}),
                    ContainsSubstring("[allocate] out of memory: asked for 256.0 MiB"));
  memory.set_limit(0);
  CHECK_THROWS_WITH(empty({std::int64_t{1} << 45}, {.dtype = DType::u8, .device = kGpu}),
                    ContainsSubstring("free on the GPU"));
}

TEST_CASE("The profiler waits for a GPU's kernels and knows them", "[cuda]") {
  skip_without_gpu();
  const Tensor x = ones({64, 32}, {.device = kGpu}), w = ones({32, 16}, {.device = kGpu});
  Profiler profiler;
  Tensor y;
  {
    const ProfilerScope scope(profiler);
    y = matmul(x, w);
  }
  const std::vector<ProfileRow> rows = profiler.operations();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].flops == 2.0 * 64 * 32 * 16);
  CHECK(rows[0].memory_bytes >= static_cast<double>(allocator(kGpu).stats().in_use));
}

TEST_CASE("Reductions of many values are the CPU's", "[cuda]") {
  skip_without_gpu();
  Generator generator(1);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64}) {
    CAPTURE(dtype);
    // Sums are f64, or integers: only what order rounds differently is left.
    const double tolerance = dtype == DType::bf16  ? 0.01
                             : dtype == DType::i64 ? 0
                                                   : tolerance_of(dtype);
    for (const Dims& shape :
         {Dims{70001}, {3, 30011}, {30011, 3}, {5003, 64}, {2, 301, 130}, {40, 1}}) {
      CAPTURE(shape);
      const Tensor x = dtype == DType::i64
                           ? randint(-50, 50, shape, {.dtype = DType::i64}, generator)
                           : to(randn(shape, {}, generator), dtype);
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{-1}}) {
        check_function({x}, tolerance, [&](const Tensors& in) -> Tensors {
          const Tensor& v = in[0];
          Tensors all{sum(v, dims), amax(v, dims), amin(v, dims), any(v, dims),
                      invar::all(v, dims)};
          if (is_floating(dtype)) {
            all.insert(all.end(), {mean(v, dims), var(v, dims), norm(v, 1, dims), norm(v, 2, dims),
                                   norm(v, HUGE_VAL, dims), logsumexp(v, dims)});
          }
          return all;
        });
      }
      check_function({x}, 0, [&](const Tensors& in) -> Tensors {
        const ValuesAndIndices most = max(in[0], 0), least = min(in[0], -1);
        return {most.values, most.indices, least.values, least.indices, argmax(in[0])};
      });
    }
  }
}

TEST_CASE("What works along a line is the CPU's, for hard numbers too", "[cuda]") {
  skip_without_gpu();
  Generator generator(2);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32}) {
    CAPTURE(dtype);
    const double tolerance = dtype == DType::bf16 ? 0.01 : tolerance_of(dtype);
    for (const Dims& shape : {Dims{5000}, {7, 1001}, {700, 30}, {3, 4, 200}}) {
      CAPTURE(shape);
      const Tensor x = is_floating(dtype) ? to(randn(shape, {}, generator), dtype)
                                          : to(randint(-9, 9, shape, {}, generator), dtype);
      const Tensor hard = is_floating(dtype) ? with_hard_numbers(clone(x)) : x;
      for (const int dim : {0, -1}) {
        check_function({x}, tolerance, [&](const Tensors& in) -> Tensors {
          Tensors all{cumsum(in[0], dim)};
          if (is_floating(dtype)) {
            all.insert(all.end(), {softmax(in[0], dim), log_softmax(in[0], dim)});
          }
          return all;
        });
        check_function({hard}, 0, [&](const Tensors& in) -> Tensors {
          const std::int64_t k = std::min<std::int64_t>(in[0].size(dim), 20);
          const ValuesAndIndices up = sort(in[0], dim), down = sort(in[0], dim, true),
                                 top = topk(in[0], k, dim), best = max(in[0], dim),
                                 least = min(in[0], dim);
          return {up.values,   up.indices,   down.values,   down.indices,  top.values,
                  top.indices, best.indices, least.indices, nonzero(in[0])};
        });
        if (is_floating(dtype)) {
          check_function({hard}, tolerance, [&](const Tensors& in) -> Tensors {
            return {softmax(in[0], dim), log_softmax(in[0], dim), logsumexp(in[0], {dim}),
                    amax(in[0], {dim}), amin(in[0], {dim})};
          });
        }
      }
    }
  }
}

TEST_CASE("Gathering and scattering are the CPU's, bit for bit", "[cuda]") {
  skip_without_gpu();
  Generator generator(3);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64}) {
    CAPTURE(dtype);
    // One line, few long ones, many short ones (each has a thread), rows of an embedding.
    for (const Dims& shape : {Dims{4001}, {3, 2000}, {40000, 2}, {500, 33}}) {
      CAPTURE(shape);
      for (int dim = 0; dim < shape.size(); ++dim) {
        Dims from = shape;
        from[dim] = 7;
        const Tensor index = randint(0, 7, shape, {.dtype = DType::i64}, generator);
        const Tensor x = to(randn(from, {}, generator) * 100, dtype);
        const Tensor src = to(randn(shape, {}, generator) * 100, dtype);
        check_function({index, x, src}, 0, [dim](const Tensors& in) -> Tensors {
          return {gather(in[1], dim, in[0]), scatter_add(in[1], dim, in[0], in[2])};
        });
      }
    }
    const Tensor rows = randint(0, 11, {1000}, {.dtype = DType::i64}, generator);
    const Tensor x = to(randn({11, 64}, {}, generator), dtype);
    check_function(
        {x, reshape(rows, {1, 1000})}, dtype == DType::bf16 ? 0.01 : tolerance_of(dtype),
        [](const Tensors& in) -> Tensors { return {index_select(in[0], 0, flatten(in[1]))}; },
        is_floating(dtype));
  }
  const auto refuses = [](std::initializer_list<double> at, const char* message) {
    const Tensor index = to(to(tensor(at), DType::i64), kGpu);
    CHECK_THROWS_WITH(index_select(ones({3}, {.device = kGpu}), 0, index),
                      ContainsSubstring(message));
  };
  refuses({0, 2, 3, -1}, "got 3");
  refuses({0, -2, 3}, "got -2");
}

TEST_CASE("Normalisation of many values is the CPU's", "[cuda]") {
  skip_without_gpu();
  Generator generator(4);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(dtype);
    const double tolerance = dtype == DType::bf16 ? 0.02 : dtype == DType::f32 ? 2e-5 : 1e-10;
    // Channels that are read one by one, and several at once.
    for (const Dims& shape : {Dims{5000, 3}, {4, 20, 20, 64}, {1000, 130}, {30000, 8}, {2, 16}}) {
      CAPTURE(shape);
      const Tensor x = to(randn(shape, {}, generator) * 3 + 10, dtype);
      const Tensor r = to(randn(shape, {}, generator), dtype);
      const Tensor w = to(rand({shape.back(), 1}, {}, generator) + 0.5, computed_in(dtype));
      const Tensor b = to(randn({shape.back(), 1}, {}, generator), computed_in(dtype));
      for (const bool training : {true, false}) {
        const BatchNormOptions o{.training = training};
        check_function(
            {x, r, w, b}, tolerance,
            [&](const Tensors& in) -> Tensors {
              const Tensor weight = contiguous(flatten(in[2])), bias = contiguous(flatten(in[3]));
              const TensorOptions options{.dtype = computed_in(dtype), .device = x.device()};
              const auto statistics = [&](double value) {
                return to(full({shape.back()}, value, options), in[0].device());
              };
              const Tensor m = statistics(10), v = statistics(9);
              Tensors all{batch_norm(in[0], m, v, weight, bias, o),
                          batch_norm_relu(in[0], m, v, weight, bias, o),
                          batch_norm_relu(in[0], m, v, weight, bias, o, in[1]),
                          batch_norm(in[0], m, v, {}, {}, o)};
              all.insert(all.end(), {m, v});
              return all;
            },
            false);
      }
      check_function(
          {x, to(rand({shape.back()}, {}, generator), computed_in(dtype))}, tolerance * 10,
          [&](const Tensors& in) -> Tensors { return {layer_norm(in[0], {shape.back()}, in[1])}; });
    }
  }
  // Gradients, with values on either side of the relu by a wide margin.
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(dtype);
    for (const Dims& shape : {Dims{3000, 3}, {2, 20, 20, 64}}) {
      CAPTURE(shape);
      const Tensor sign = to(bernoulli(0.5, shape, {}, generator), DType::f32) * 2 - 1;
      const Tensor x = to(sign * (rand(shape, {}, generator) + 1), dtype);
      const Tensor r = to(rand(shape, {}, generator) * 0.25, dtype);
      const double scale = dtype == DType::bf16 ? 0.03 : dtype == DType::f32 ? 1e-4 : 1e-10;
      check_function(
          {x, r}, scale,
          [](const Tensors& in) -> Tensors {
            return {batch_norm_relu(in[0], {}, {}),
                    batch_norm_relu(in[0], {}, {}, {}, {}, {}, in[1]),
                    batch_norm(in[0], {}, {}) * in[1], layer_norm(in[0], {in[0].size(-1)}) * in[1]};
          },
          true);
    }
  }
}

TEST_CASE("Batch-norm's statistics survive a mean far from zero", "[cuda]") {
  skip_without_gpu();
  Generator generator(5);
  for (const double offset : {1e4, -1e6}) {
    const Tensor x = to(randn({20011, 16}, {}, generator) * 4 + offset, DType::f32);
    const Tensor m = zeros({16}, {.device = kGpu}), v = zeros({16}, {.device = kGpu});
    batch_norm(to(x, kGpu), m, v, {}, {}, {.momentum = 1});
    const Tensor exact = to(x, DType::f64);
    const Tensor error = abs(to(to(v, kCpu), DType::f64) - var(exact, {0})) / var(exact, {0});
    CHECK(amax(error).item() < 3e-7);
    CHECK(amax(abs(to(to(m, kCpu), DType::f64) - mean(exact, {0}))).item() <=
          std::abs(offset) * 6e-8);
  }
  CHECK(sum(abs(batch_norm(full({100, 2}, 0.1, {.device = kGpu}), {}, {}))).item() == 0);
}

TEST_CASE("Batch-norm has the same bits wherever its input begins", "[cuda]") {
  skip_without_gpu();
  Generator generator(6);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Dims shape{700, 16};
    const Tensor base = to(to(randn({1 + 700 * 16}, {}, generator), dtype), kGpu);
    const auto results = [&](const Tensor& input) {
      const Tensor x = input.detach().requires_grad_();
      const Tensor y = batch_norm_relu(x, {}, {}, {}, {}, {}, x);
      return Tensors{y, grad({sum(square(y))}, {x})[0]};
    };
    const Tensor shifted = reshape(narrow(base, 0, 1, 700 * 16), shape);
    const Tensors aside = results(shifted), own = results(clone(shifted));
    for (std::size_t i : {0, 1}) CHECK(all(eq(aside[i], own[i])).item<bool>());
  }
}

TEST_CASE("Pooling is the CPU's", "[cuda]") {
  skip_without_gpu();
  Generator generator(6);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(dtype);
    const double tolerance = dtype == DType::bf16 ? 0.01 : tolerance_of(dtype);
    const Tensor x = with_hard_numbers(to(randn({3, 17, 20, 5}, {}, generator), dtype));
    const Tensor y = to(randn({3, 17, 20, 5}, {}, generator), dtype);
    check_function({x}, 0,
                   [](const Tensors& in) -> Tensors { return {max_pool2d(in[0], 3, 2, 1)}; });
    check_function(
        {y}, tolerance,
        [](const Tensors& in) -> Tensors {
          return {max_pool2d(in[0], 3, 2, 1),
                  max_pool2d(in[0], {2, 5}, Size2(3, 1)),
                  avg_pool2d(in[0], 3, 2, 1),
                  avg_pool2d(in[0], {4, 3}, Size2(1, 5), {2, 0}, false),
                  adaptive_max_pool2d(in[0], {5, 7}),
                  adaptive_avg_pool2d(in[0], 1),
                  adaptive_avg_pool2d(in[0], {5, 7}),
                  adaptive_avg_pool2d(in[0], {30, 3})};
        },
        true);
  }
}

TEST_CASE("Optimisers step as on the CPU", "[cuda]") {
  skip_without_gpu();
  Generator generator(7);
  // More tensors than one launch takes, of sizes around those of a block of threads.
  std::vector<Dims> shapes{{4096}, {4097}, {3, 5000}, {1}, {0}};
  for (std::int64_t i = 0; i < 90; ++i) shapes.push_back({i * 7});
  Tensors start, gradients;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const TensorOptions options{.dtype = i % 5 == 4 ? DType::f64 : DType::f32};
    start.push_back(randn(shapes[i], options, generator));
    gradients.push_back(randn(shapes[i], options, generator));
  }
  start.push_back(zeros({10}));  // a norm of 0
  gradients.push_back(ones({10}));
  const auto on = [](Device device, const Tensors& list) {
    Tensors moved;
    for (const Tensor& x : list) moved.push_back(clone(to(x, device)));
    return moved;
  };
  const auto compare = [&](double tolerance, const std::function<Tensors(Device)>& run) {
    const Tensors gpu = run(kGpu), cpu = run(kCpu);
    for (std::size_t i = 0; i < cpu.size(); ++i) {
      CAPTURE(i);
      check_same(gpu[i], cpu[i], tolerance);
    }
  };
  for (const LarsVariant lars : {LarsVariant::none, LarsVariant::official, LarsVariant::clipped}) {
    for (const bool nesterov : {false, true}) {
      CAPTURE(static_cast<int>(lars), nesterov);
      compare(lars == LarsVariant::none ? 0 : 1e-6, [&](Device device) {
        const Tensors p = on(device, start), g = on(device, gradients);
        Tensors m = on(device, start);
        std::vector<SgdStep> steps(p.size());
        for (std::size_t i = 0; i < p.size(); ++i) {
          steps[i] = {.lr = 0.1,
                      .momentum = 0.9,
                      .weight_decay = 1e-2,
                      .nesterov = nesterov,
                      .first = i % 2 == 0,
                      .lars = lars,
                      .eta = 0.02};
          if (i % 3 == 0) {
            steps[i].momentum = 0;
            m[i] = {};
          }
        }
        const Tensor norms = lars == LarsVariant::none ? Tensor() : lars_norms(p, g, steps);
        sgd_step_(p, g, m, steps, norms);
        Tensors all = p;
        for (const Tensor& x : m) {
          if (x.defined()) all.push_back(x);
        }
        if (norms.defined()) all.push_back(norms);
        return all;
      });
    }
  }
  compare(1e-6, [&](Device device) {
    const Tensors p = on(device, start), g = on(device, gradients), m = on(device, gradients);
    Tensors v;
    for (const Tensor& x : m) v.push_back(square(x));
    std::vector<AdamStep> steps(p.size(), {.lr = 1e-2, .weight_decay = 0.1});
    for (std::size_t i = 0; i < p.size(); ++i) {
      steps[i].count = static_cast<std::int64_t>(i) + 1;
      steps[i].decoupled = i % 2 == 0;
    }
    adam_step_(p, g, m, v, steps);
    Tensors all = p;
    all.insert(all.end(), m.begin(), m.end());
    all.insert(all.end(), v.begin(), v.end());
    return all;
  });
  compare(0, [&](Device device) {
    const Tensors x = on(device, start), y = on(device, gradients);
    lerp_(x, y, 0.01);
    return x;
  });
  compare(1e-12, [&](Device device) -> Tensors { return {squared_norm(on(device, start))}; });
}

TEST_CASE("A gradient that is not finite is found", "[cuda]") {
  skip_without_gpu();
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = to(to(with_hard_numbers(randn({40, 30})), dtype), kGpu);
    CHECK(engine_ops::all_finite(ones({40, 30}, {.dtype = dtype, .device = kGpu})));
    CHECK_FALSE(engine_ops::all_finite(x));
  }
}
