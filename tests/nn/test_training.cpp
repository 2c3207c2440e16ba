// What holds of a whole training step.
#include <catch2/catch_test_macros.hpp>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
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
