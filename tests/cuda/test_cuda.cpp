// The GPU against the CPU. Without a GPU only what a program is told then is tested; the rest is
// skipped, never passed.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/view.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr Device kGpu{DeviceType::cuda, 0};

void skip_without_gpu() {
  if (cuda::device_count() == 0) SKIP("no GPU");
}

/// Both tensors' elements agree: exactly if they are no reals, else to a few units in the last
/// place (the GPU's transcendental functions are not the CPU's).
void check_same(const Tensor& gpu, const Tensor& cpu, double tolerance) {
  REQUIRE(gpu.device() == kGpu);
  REQUIRE(gpu.dtype() == cpu.dtype());
  REQUIRE(gpu.shape() == cpu.shape());
  const Tensor a = to(to(gpu, kCpu), DType::f64), b = to(contiguous(cpu), DType::f64);
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double x = a.data<const double>()[i], y = b.data<const double>()[i];
    const bool same = (std::isnan(x) && std::isnan(y)) || x == y ||
                      std::abs(x - y) <= tolerance * std::max(1.0, std::abs(y));
    CAPTURE(i, x, y);
    REQUIRE(same);
  }
}

double tolerance_of(DType dtype) {
  return dtype == DType::f32 ? 1e-6 : dtype == DType::f64 ? 1e-14 : 0;
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

TEST_CASE("Tensors travel to the GPU and back") {
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

TEST_CASE("Elementwise operations agree with the CPU's") {
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

TEST_CASE("Random numbers are the CPU's, bit for bit") {
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
