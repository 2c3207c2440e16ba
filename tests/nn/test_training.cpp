// What holds of a whole training step.
#include <catch2/catch_test_macros.hpp>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/reduce.hpp>

using namespace invar;

TEST_CASE("a training step in its steady state takes no memory from the system", "[unit]") {
  nn::ResNet network(18, {.in_channels = 3, .width = 8, .stem = nn::Stem::cifar});
  nn::SGD optimizer(network, {.lr = 0.1, .momentum = 0.9});
  const auto step = [&] {
    optimizer.zero_grad();
    // Fresh images every time, as a loader hands them out.
    mean(square(network(randn({4, 16, 16, 3})))).backward();
    optimizer.step();
  };
  for (int i = 0; i < 3; ++i) step();
  const MemoryStats before = allocator().stats();
  for (int i = 0; i < 5; ++i) step();
  const MemoryStats after = allocator().stats();
  CHECK(after.requests > before.requests);
  CHECK(after.from_system == before.from_system);
  CHECK(after.in_use == before.in_use);
}

TEST_CASE("a batch-norm's output is not kept for the backward pass", "[unit]") {
  const Tensor x = randn({64, 32, 32, 16}, {.requires_grad = true});
  const std::size_t bytes = x.storage()->bytes();
  const std::size_t before = allocator().stats().in_use;
  const auto kept = [&] { return allocator().stats().in_use - before; };
  const auto norm = [](const Tensor& x, const Tensor& residual = {}) {
    return batch_norm_relu(x, {}, {}, {}, {}, {}, residual);
  };
  SECTION("but made anew from its input") {
    const Tensor loss = sum(square(norm(x)));
    CHECK(kept() < bytes / 8);
  }
  SECTION("unless its residual is made anew") {
    const Tensor y = norm(x);
    const Tensor loss = sum(square(norm(x, y)));
    CHECK(kept() > 2 * bytes - bytes / 8);  // y, which is alive, and the output
    CHECK(kept() < 2 * bytes + bytes / 8);
  }
}
