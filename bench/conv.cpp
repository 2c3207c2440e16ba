// The layers of ResNet-18 on 128 images of 32x32, one by one: convolution (forward and both
// backward passes), batch-norm, ReLU, pooling.
//
//   bench_conv [--benchmark_filter=conv2d] [--benchmark_format=json] ...
//
// OMP_NUM_THREADS sets the threads. Columns: wall time, processor time of all threads, floating
// point operations or bytes (each tensor read or written once) per second of wall time.
#include <fmt/format.h>

#include <invar/core/autograd/engine.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/pool.hpp>

#include "register.hpp"

namespace {

using namespace invar;

void register_conv(DType dtype, std::int64_t n, std::int64_t size, std::int64_t inputs,
                   std::int64_t outputs, std::int64_t kernel, std::int64_t stride) {
  const Conv2dOptions o{.stride = stride, .padding = kernel / 2};
  const Dims image{n, size, size, inputs}, weight{outputs, kernel, kernel, inputs};
  const std::int64_t out = (size - 1) / stride + 1;
  const Dims output{n, out, out, outputs};
  const double flops = 2.0 * static_cast<double>(numel_of(output) * kernel * kernel * inputs);
  const auto add = [&](const char* pass,
                       const std::function<void(const Tensor&, const Tensor&, const Tensor&)>& f) {
    for (const auto& [name, algorithm] : {std::pair("direct", ConvAlgorithm::direct),
                                          std::pair("winograd", ConvAlgorithm::winograd)}) {
      if (algorithm == ConvAlgorithm::winograd && kernel != 3) continue;
      register_benchmark(
          fmt::format("{}/{}/{}x{}x{} to {}, {}x{}, stride {}, {}",
                      dtype == DType::bf16 ? "conv2d_bf16" : "conv2d", pass, size, size, inputs,
                      outputs, kernel, kernel, stride, name),
          [=] {
            set_conv_algorithm(algorithm);
            return [=, x = to(randn(image), dtype), w = to(randn(weight), dtype),
                    g = to(randn(output), dtype)] { f(x, w, g); };
          },
          "FLOP/s", flops);
    }
  };
  add("forward", [=](const Tensor& x, const Tensor& w, const Tensor&) { conv2d(x, w, {}, o); });
  add("input", [=](const Tensor&, const Tensor& w, const Tensor& g) {
    conv2d_backward_input(g, w, image, o);
  });
  add("weight", [=](const Tensor& x, const Tensor&, const Tensor& g) {
    conv2d_backward_weight(g, x, weight, o);
  });
}

/// f of one image tensor, and its gradient; `tensors` are read or written by each.
void register_map(const char* name, const Dims& shape,
                  const std::function<Tensor(const Tensor&)>& f, double forward_tensors,
                  double backward_tensors) {
  const double bytes = 4.0 * static_cast<double>(numel_of(shape));
  const std::string size = fmt::format("{}x{}x{}", shape[1], shape[2], shape[3]);
  register_benchmark(
      fmt::format("{}/forward/{}", name, size), [=] { return [=, x = randn(shape)] { f(x); }; },
      "B/s", forward_tensors * bytes);
  register_benchmark(
      fmt::format("{}/backward/{}", name, size),
      [=] {
        const Tensor x = randn(shape).requires_grad_(), y = f(x), g = randn(y.shape());
        return [=] { grad({y}, {x}, {g}, {.retain_graph = true}); };
      },
      "B/s", backward_tensors * bytes);
}

void register_all() {
  constexpr std::int64_t kBatch = 128;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    register_conv(dtype, kBatch, 32, 3, 64, 3, 1);
    register_conv(dtype, kBatch, 32, 64, 64, 3, 1);
    for (std::int64_t c = 64, size = 32; c < 512; c *= 2, size /= 2) {
      register_conv(dtype, kBatch, size, c, 2 * c, 3, 2);
      register_conv(dtype, kBatch, size, c, 2 * c, 1, 2);
      register_conv(dtype, kBatch, size / 2, 2 * c, 2 * c, 3, 1);
    }
    for (std::int64_t c = 16, size = 28; c <= 128; c *= 2, size = (size + 1) / 2) {  // width 16
      register_conv(dtype, 2 * kBatch, size, c, c, 3, 1);
      if (c < 128) register_conv(dtype, 2 * kBatch, size, c, 2 * c, 3, 2);
      if (c < 128) register_conv(dtype, 2 * kBatch, size, c, 2 * c, 1, 2);
    }
  }
  for (std::int64_t c = 64, size = 32; c <= 512; c *= 2, size /= 2) {
    const Dims shape{kBatch, size, size, c};
    register_map(
        "batch_norm", shape,
        [w = ones({c}), b = zeros({c})](const Tensor& x) { return batch_norm(x, {}, {}, w, b); }, 3,
        5);
    register_map("relu", shape, relu, 2, 3);
  }
  register_map(
      "max_pool2d", {32, 112, 112, 64}, [](const Tensor& x) { return max_pool2d(x, 3, 2, 1); }, 1.5,
      1.5);
  register_map(
      "adaptive_avg_pool2d", {kBatch, 4, 4, 512},
      [](const Tensor& x) { return adaptive_avg_pool2d(x, 1); }, 1, 1);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
