// What NVIDIA's libraries compute, and modules that move: the GPU against the CPU. Skipped without
// a GPU.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

#include "gpu.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

/// |a - b| / |b| in f64.
double relative_error(const Tensor& gpu, const Tensor& cpu) {
  REQUIRE(gpu.device() == kGpu);
  REQUIRE(gpu.dtype() == cpu.dtype());
  REQUIRE(gpu.shape() == cpu.shape());
  const Tensor a = to(to(gpu, kCpu), DType::f64), b = to(cpu, DType::f64);
  return (norm(a - b) / (norm(b) + 1e-30)).item();
}

double tolerance_of(DType dtype) {
  return dtype == DType::f64 ? 1e-12 : dtype == DType::f32 ? 2e-5 : 1e-2;
}

constexpr DType kReals[] = {DType::f32, DType::f64, DType::bf16};

}  // namespace

TEST_CASE("Settings are kept, with CUDA or without", "[unit]") {
  CHECK_FALSE(cuda::allow_tf32());
  CHECK_FALSE(cuda::are_deterministic_algorithms_enabled());
  CHECK(cuda::workspace_limit() == std::size_t{256} << 20);
  cuda::set_allow_tf32(true);
  CHECK(cuda::allow_tf32());
  cuda::set_allow_tf32(false);
  CHECK_FALSE(cuda::is_benchmark_on());
  CHECK(cuda::plan_choices().empty());
  cuda::set_plan_choices({{"a convolution", "a plan"}});
  CHECK(cuda::plan_choices() == cuda::PlanChoices{{"a convolution", "a plan"}});
  cuda::set_plan_choices({});
}

TEST_CASE("cuDNN has plans for the convolutions of a ResNet", "[cuda]") {
  skip_without_gpu();
  // Plain kernels would give the same numbers, so the other tests would not notice.
  const auto before = cuda::convolutions_without_plan();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const auto& [channels, outputs, kernel, stride] : {std::array<int, 4>{3, 64, 7, 2},
                                                            {3, 64, 3, 1},
                                                            {1, 16, 3, 1},
                                                            {64, 64, 3, 1},
                                                            {64, 128, 3, 2},
                                                            {64, 128, 1, 2},
                                                            {256, 64, 1, 1}}) {
      const Tensor x = to(to(randn({4, 16, 16, channels}), dtype), kGpu).requires_grad_();
      const Tensor w =
          to(to(randn({outputs, kernel, kernel, channels}), dtype), kGpu).requires_grad_();
      sum(square(conv2d(x, w, {}, {.stride = stride, .padding = kernel / 2}))).backward();
    }
  }
  for (const auto& [convolution, reason] : cuda::convolutions_without_plan()) {
    CAPTURE(convolution, reason);
    CHECK(before.contains(convolution));
  }
}

TEST_CASE("Convolutions of every kind agree with the CPU's", "[cuda]") {
  skip_without_gpu();
  struct Case {
    std::int64_t channels, outputs, kernel;
    Conv2dOptions options;
  };
  const std::vector<Case> cases{
      {3, 16, 3, {.padding = 1}},
      {16, 8, 1, {.stride = 2}},
      {5, 7, 3, {.stride = 2, .padding = {1, 2}, .dilation = 2}},
      {12, 8, 3, {.padding = 1, .groups = 4}},
  };
  for (const DType dtype : kReals) {
    for (const Case& c : cases) {
      CAPTURE(dtype, c.channels, c.outputs, c.kernel);
      const Tensor x = to(randn({4, 11, 9, c.channels}), dtype);
      const Tensor w =
          to(randn({c.outputs, c.kernel, c.kernel, c.channels / c.options.groups}), dtype);
      const Tensor bias = to(randn({c.outputs}), dtype);
      const Tensor y = conv2d(x, w, bias, c.options);
      const Tensor g = to(randn(y.shape()), dtype);
      const Tensor gx = to(x, kGpu), gw = to(w, kGpu), gg = to(g, kGpu);
      CHECK(relative_error(conv2d(gx, gw, to(bias, kGpu), c.options), y) < tolerance_of(dtype));
      CHECK(relative_error(conv2d_backward_input(gg, gw, x.shape(), c.options),
                           conv2d_backward_input(g, w, x.shape(), c.options)) <
            tolerance_of(dtype));
      CHECK(relative_error(conv2d_backward_weight(gg, gx, w.shape(), c.options),
                           conv2d_backward_weight(g, x, w.shape(), c.options)) <
            tolerance_of(dtype));
    }
  }
}

TEST_CASE("A view that begins at an odd address is convolved", "[cuda]") {
  skip_without_gpu();
  const Tensor x = randn({3, 5, 5, 1}), w = randn({8, 3, 3, 1});
  CHECK(relative_error(conv2d(narrow(to(x, kGpu), 0, 1, 2), to(w, kGpu)),
                       conv2d(narrow(x, 0, 1, 2), w)) < 2e-5);
}

TEST_CASE("Deterministic convolutions give the same bits twice", "[cuda]") {
  skip_without_gpu();
  cuda::use_deterministic_algorithms(true);
  const Tensor x = randn({64, 16, 16, 32}, {.device = kGpu});
  const Tensor g = randn({64, 16, 16, 32}, {.device = kGpu});
  const auto gradient = [&] {
    return to(conv2d_backward_weight(g, x, {32, 3, 3, 32}, {.padding = 1}), kCpu);
  };
  const Tensor first = gradient();
  for (int i = 0; i < 3; ++i) CHECK(sum(ne(gradient(), first)).item() == 0);
  cuda::use_deterministic_algorithms(false);
}

TEST_CASE("Plans are chosen by timing only if asked for, and kept") {
  skip_without_gpu();
  const Tensor x = randn({8, 9, 9, 16}), w = randn({24, 3, 3, 16});
  const Tensor gx = to(x, kGpu), gw = to(w, kGpu);
  conv2d(gx, gw);
  CHECK(cuda::plan_choices().empty());
  cuda::set_benchmark(true);
  CHECK(relative_error(conv2d(gx, gw), conv2d(x, w)) < 2e-5);
  const cuda::PlanChoices chosen = cuda::plan_choices();
  CHECK(chosen.size() == 1);
  conv2d(gx, gw);
  CHECK(cuda::plan_choices() == chosen);
  cuda::set_benchmark(false);
  cuda::set_plan_choices({});
}

TEST_CASE("TF32 is used only where it is allowed", "[cuda]") {
  skip_without_gpu();
  const Tensor a = randn({256, 512}), b = randn({512, 128});
  const Tensor ga = to(a, kGpu), gb = to(b, kGpu), product = matmul(a, b);
  CHECK(relative_error(matmul(ga, gb), product) < 2e-6);
  cuda::set_allow_tf32(true);
  CHECK(relative_error(matmul(ga, gb), product) < 2e-3);
  cuda::set_allow_tf32(false);
}

TEST_CASE("Products of every layout agree with the CPU's", "[cuda]") {
  skip_without_gpu();
  for (const DType dtype : kReals) {
    CAPTURE(dtype);
    const auto make = [&](const Dims& shape) { return to(randn(shape), dtype); };
    const auto compare = [&](const Tensor& a, const Tensor& b) {
      CAPTURE(a.shape(), b.shape());
      CHECK(relative_error(matmul(to(a, kGpu), to(b, kGpu)), matmul(a, b)) < tolerance_of(dtype));
    };
    compare(make({7, 5}), make({5, 3}));
    compare(make({1, 5}), make({5, 1}));
    compare(make({6, 7, 5}), make({6, 5, 3}));
    compare(make({2, 1, 7, 5}), make({3, 5, 4}));  // broadcast both ways
    compare(make({4, 0, 5}), make({4, 5, 3}));
    const Tensor a = make({33, 17}), b = make({33, 9});
    CHECK(relative_error(matmul(transpose(to(a, kGpu)), to(b, kGpu)), matmul(transpose(a), b)) <
          tolerance_of(dtype));
    const Tensor x = make({2, 6, 16}), w = make({10, 16}), bias = make({10});
    CHECK(relative_error(linear(to(x, kGpu), to(w, kGpu), to(bias, kGpu)), linear(x, w, bias)) <
          tolerance_of(dtype));
  }
}

TEST_CASE("A bias beside bf16 products is added in f32", "[cuda]") {
  skip_without_gpu();
  // 1 + bias lies just above the middle of two bf16 numbers; with the bias rounded it is the
  // middle, which goes to the even one below.
  const Tensor bias = full({4}, 0x1p-8 + 0x1p-20);
  for (const Device device : {kCpu, kGpu}) {
    const Tensor x = ones({2, 1}, {.dtype = DType::bf16, .device = device});
    const Tensor w = ones({4, 1}, {.device = device});
    CHECK(mean(to(linear(x, w, to(bias, device)), DType::f64)).item() == 1 + 0x1p-7);
  }
}

TEST_CASE("Factorisations agree with the CPU's", "[cuda]") {
  skip_without_gpu();
  for (const DType dtype : {DType::f32, DType::f64}) {
    CAPTURE(dtype);
    const double tolerance = dtype == DType::f64 ? 1e-11 : 1e-4;
    const Tensor a = randn({3, 6, 6}, {.dtype = dtype});
    const Tensor s = matmul(a, transpose(a)) + eye(6, -1, {.dtype = dtype});
    const Tensor l = cholesky(s), gl = cholesky(to(s, kGpu));
    CHECK(relative_error(gl, l) < tolerance);
    const Tensor b = randn({3, 6, 4}, {.dtype = dtype});
    const Tensor gb = to(b, kGpu);
    CHECK(relative_error(solve_triangular(gl, gb, false), solve_triangular(l, b, false)) <
          tolerance);
    CHECK(relative_error(solve_triangular(transpose(gl), gb, true),
                         solve_triangular(transpose(l), b, true)) < tolerance);
    const Eigh eigen = eigh(to(s, kGpu));
    CHECK(relative_error(eigen.values, eigvalsh(s)) < tolerance);
    const Tensor rebuilt =
        matmul(eigen.vectors * unsqueeze(eigen.values, -2), transpose(eigen.vectors));
    CHECK(relative_error(rebuilt, s) < tolerance);
    for (const Tensor& wide : {b, contiguous(transpose(b))}) {
      CHECK(relative_error(svdvals(to(wide, kGpu)), svdvals(wide)) < tolerance);
    }
  }
  const Tensor bad = to(tensor(std::vector<double>{1, 0, 0, -1}, {2, 2}), kGpu);
  CHECK_THROWS_WITH(cholesky(bad), ContainsSubstring("leading minor of order 2"));
}

TEST_CASE("Modules and checkpoints travel between devices", "[cuda]") {
  skip_without_gpu();
  const auto make = [] { return nn::Sequential(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 2)); };
  nn::Sequential on_cpu = make(), on_gpu = on_cpu;
  on_gpu.to(kGpu);
  for (const Tensor& p : on_gpu.parameters()) {
    CHECK(p.device() == kGpu);
    CHECK(p.requires_grad());
  }
  const Tensor x = randn({5, 4});
  CHECK(relative_error(on_gpu(to(x, kGpu)).detach(), on_cpu(x).detach()) < 1e-5);

  const auto path = std::filesystem::temp_directory_path() / "invar_cuda_checkpoint.safetensors";
  nn::save_checkpoint(path, {.model = &on_gpu}, {.step = 3});
  nn::Sequential loaded = make(), back = make();
  nn::load_checkpoint(path, {.model = &loaded});
  back.to(kGpu);
  nn::load_checkpoint(path, {.model = &back});
  std::filesystem::remove(path);
  CHECK(sum(ne(loaded(x).detach(), on_cpu(x).detach())).item() == 0);
  CHECK(relative_error(back(to(x, kGpu)).detach(), on_cpu(x).detach()) < 1e-5);
}
