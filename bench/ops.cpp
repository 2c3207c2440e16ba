// Single operations beside those of bench_conv: products of matrices by shape, reductions, softmax,
// the parts of the VICReg loss, optimisers. And the two peaks of a roofline: multiplications with
// addition in registers, and a triad through memory.
//
//   bench_ops [--benchmark_filter=matmul] [--benchmark_format=json] ...
//
// OMP_NUM_THREADS sets the threads; columns are explained in register.hpp.
#include <fmt/format.h>
#include <omp.h>

#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <memory>

#include "peak.hpp"
#include "register.hpp"

namespace {

using namespace invar;

void register_peaks() {
  constexpr std::int64_t kRounds = 1 << 20;
  static constexpr std::int64_t kNumbers = 1 << 24;  // 64 MiB an array: beyond any cache
  const auto threads = static_cast<double>(omp_get_max_threads());
  register_benchmark(
      "peak/f32 multiply-add", [] { return [] { bench::multiply_add(kRounds); }; }, "FLOP/s",
      threads * static_cast<double>(kRounds * bench::multiply_add_flops()));
  register_benchmark(
      "peak/triad",
      [] {
        return [a = empty({kNumbers}), b = randn({kNumbers}), c = randn({kNumbers})] {
          float* const to = a.data<float>();
          const float *const x = b.data<float>(), *const y = c.data<float>();
#pragma omp parallel for schedule(static)
          for (std::int64_t i = 0; i < kNumbers; ++i) to[i] = x[i] + 3.0f * y[i];
        };
      },
      "B/s", 3.0 * sizeof(float) * static_cast<double>(kNumbers));
}

/// [m, k] times [k, n], each side as it is or transposed: the expander's layers, their gradients
/// and the loss's covariance.
void register_matmul(std::int64_t m, std::int64_t k, std::int64_t n) {
  const auto add = [=](const char* form, bool transpose_a, bool transpose_b) {
    register_benchmark(
        fmt::format("matmul/{}/{}x{}x{}", form, m, k, n),
        [=] {
          const Tensor a = transpose_a ? transpose(randn({k, m})) : randn({m, k});
          const Tensor b = transpose_b ? transpose(randn({n, k})) : randn({k, n});
          return [=] { matmul(a, b); };
        },
        "FLOP/s", 2.0 * static_cast<double>(m * k * n));
  };
  add("A B", false, false);
  add("A' B", true, false);
  add("A B'", false, true);
}

/// f of one f32 tensor; `tensors` of its size are read or written.
void register_map(const std::string& name, const Dims& shape, double tensors,
                  const std::function<void(const Tensor&)>& f) {
  register_benchmark(
      fmt::format("{}/{}", name, shape),
      [=] { return [f, x = randn(shape, {.requires_grad = true})] { f(x); }; }, "B/s",
      tensors * 4.0 * static_cast<double>(numel_of(shape)));
}

/// A step over the 11 million parameters of a ResNet-18; `tensors` of their size are read or
/// written.
template <class Optimizer, class Options>
void register_optimizer(const char* name, const Options& options, double tensors) {
  const auto parameters =
      static_cast<double>(nn::count_parameters(nn::ResNet(18, nn::ResNetOptions{})));
  register_benchmark(
      fmt::format("optimizer/{}", name),
      [options]() -> std::function<void()> {
        const auto network = std::make_shared<nn::ResNet>(18, nn::ResNetOptions{});
        for (const Tensor& p : network->parameters()) p.set_grad(randn(p.shape()));
        const auto optimizer = std::make_shared<Optimizer>(*network, options);
        return [network, optimizer] { optimizer->step(); };
      },
      "B/s", tensors * 4.0 * parameters);
}

void register_all() {
  register_peaks();
  for (std::int64_t n : {128, 512, 1024}) register_matmul(n, n, n);
  register_matmul(128, 512, 2048);
  register_matmul(128, 2048, 2048);
  register_matmul(2048, 128, 2048);

  const Dims map{128, 32, 32, 64}, embeddings{128, 2048};
  const auto forward = [](Tensor (*f)(const Tensor&)) {
    return [f](const Tensor& x) {
      NoGrad guard;
      f(x);
    };
  };
  register_map("sum/all", map, 1, forward([](const Tensor& x) { return sum(x); }));
  register_map("sum/channels", map, 1, forward([](const Tensor& x) { return sum(x, {0, 1, 2}); }));
  register_map("max/last", map, 1, forward([](const Tensor& x) { return max(x, -1).values; }));
  register_map("var/columns", embeddings, 1, forward([](const Tensor& x) { return var(x, {0}); }));
  register_map("add", map, 3, forward([](const Tensor& x) { return x + x; }));
  register_map("exp", map, 2, forward([](const Tensor& x) { return exp(x); }));
  register_map("softmax", {4096, 1024}, 2, forward([](const Tensor& x) { return softmax(x, 1); }));
  register_map("cross_entropy/with gradient", {4096, 1000}, 3, [](const Tensor& x) {
    static const Tensor labels = randint(0, 1000, {4096}, {.dtype = DType::i64});
    grad({cross_entropy(x, labels)}, {x});
  });
  register_map("vicreg/with gradient", embeddings, 3, [](const Tensor& x) {
    static const Tensor other = randn(x.shape());
    grad({ssl::Vicreg({})({x, other}).loss}, {x});
  });
  register_optimizer<nn::SGD>("SGD with momentum",
                              nn::SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4}, 5);
  register_optimizer<nn::AdamW>("AdamW", nn::AdamWOptions{}, 7);
  register_optimizer<nn::LARS>("LARS", nn::LARSOptions{.momentum = 0.9}, 7);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
