// Networks under autocast: which dtype everything has, gradients of gradients, training.
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <invar/core/allocator.hpp>
#include <invar/core/autocast.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/reduce.hpp>
#include <set>
#include <string>
#include <vector>

using namespace invar;

namespace {

nn::ResNet small_resnet(nn::Stem stem) {
  return nn::ResNet(18, {.in_channels = 3, .width = 4, .num_classes = 5, .stem = stem});
}

/// Every node that made something on the way to `root`, once.
std::vector<Node*> nodes_behind(const Tensor& root) {
  std::vector<Node*> found{root.grad_fn().get()};
  std::set<Node*> seen(found.begin(), found.end());
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const Edge& edge : found[i]->edges()) {
      if (edge.node && seen.insert(edge.node.get()).second) found.push_back(edge.node.get());
    }
  }
  return found;
}

double relative_error(const Tensor& got, const Tensor& expected) {
  return std::sqrt(sum(square(got - expected)).item() / sum(square(expected)).item());
}

}  // namespace

TEST_CASE("autocast: the dtypes of a ResNet's step", "[unit]") {
  nn::ResNet network = small_resnet(nn::Stem::imagenet);
  const Tensor images = rand({4, 24, 24, 3}), labels = zeros({4}, {.dtype = DType::i64});
  Tensor loss;
  {
    const Autocast guard(DType::bf16);
    loss = cross_entropy(network(images), labels);
  }
  CHECK(loss.dtype() == DType::f32);
  std::set<std::string> in_bf16, in_f32;
  for (Node* node : nodes_behind(loss)) {
    for (const TensorMeta& output : node->outputs()) {
      CHECK((output.dtype == DType::bf16 || output.dtype == DType::f32));
      (output.dtype == DType::bf16 ? in_bf16 : in_f32).insert(node->name());
    }
  }
  // The engine checks that gradients have the dtypes of what they belong to.
  const auto both = [&](const char* name) {
    return in_bf16.contains(name) + in_f32.contains(name);
  };
  for (const char* name : {"conv2d", "batch_norm", "batch_norm_relu", "max_pool2d", "linear"}) {
    INFO(name);
    CHECK(in_bf16.contains(name));
    CHECK(both(name) == 1);
  }
  for (const char* name : {"to", "log_softmax", "sum"}) {
    INFO(name);
    CHECK(in_f32.contains(name));
    CHECK(both(name) == 1);  // one cast, of the logits: parameters have none
  }
  loss.backward();
  for (const nn::NamedTensor& parameter : network.named_parameters()) {
    INFO(parameter.name);
    CHECK(parameter.tensor.dtype() == DType::f32);
    CHECK(parameter.tensor.grad().dtype() == DType::f32);
  }
  for (const nn::NamedTensor& buffer : network.named_buffers()) {
    CHECK(buffer.tensor.dtype() != DType::bf16);
  }
}

TEST_CASE("autocast: what a graph keeps is half as large", "[unit]") {
  nn::ResNet network = small_resnet(nn::Stem::cifar);
  const Tensor images = rand({16, 16, 16, 3});
  const auto kept = [&](DType dtype) {
    const Autocast guard(dtype);
    network(images);  // what is made once
    const std::size_t before = allocator().stats().in_use;
    const Tensor y = network(images);
    return static_cast<double>(allocator().stats().in_use - before);
  };
  CHECK(kept(DType::bf16) < 0.6 * kept(DType::f32));
}

TEST_CASE("autocast: gradients and gradients of gradients are close to those in f32", "[unit]") {
  manual_seed(7);
  nn::Sequential network(nn::Conv2d(3, 8, 3, {.padding = 1}), nn::BatchNorm2d(8), nn::ReLU(),
                         nn::Conv2d(8, 8, 3, {.stride = 2, .padding = 1}), nn::BatchNorm2d(8),
                         nn::Tanh(), nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(8, 6),
                         nn::Tanh(), nn::Linear(6, 4));
  const Tensor images = rand({8, 8, 8, 3}).requires_grad_(), target = rand({8, 4});
  const Tensors parameters = network.parameters();
  struct Gradients {
    Tensor of_images;
    Tensors of_parameters, second;
  };
  const auto gradients = [&](DType dtype) -> Gradients {
    const Autocast guard(dtype);
    const Tensor loss = mse_loss(network(images), target);
    Gradients g{grad({loss}, {images}, {}, {.create_graph = true})[0], {}, {}};
    g.of_parameters = grad({loss}, parameters, {}, {.retain_graph = true});
    // A gradient penalty, as in training that asks for smooth functions.
    g.second = grad({sum(square(g.of_images))}, parameters, {}, {}, /*allow_unused=*/true);
    return g;
  };
  const Gradients full = gradients(DType::f32), mixed = gradients(DType::bf16);
  CHECK(mixed.of_images.dtype() == DType::f32);
  CHECK(relative_error(mixed.of_images, full.of_images) < 0.15);
  CHECK(relative_error(mixed.of_images, full.of_images) > 1e-4);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    INFO(i);
    CHECK(mixed.of_parameters[i].dtype() == DType::f32);
    const auto magnitude = [](const Tensor& g) { return norm(g).item(); };
    if (magnitude(full.of_parameters[i]) > 1e-6) {  // a bias before a batch-norm has none
      CHECK(relative_error(mixed.of_parameters[i], full.of_parameters[i]) < 0.15);
    }
    if (!full.second[i].defined() || magnitude(full.second[i]) < 1e-8) continue;
    CHECK(mixed.second[i].dtype() == DType::f32);
    CHECK(relative_error(mixed.second[i], full.second[i]) < 0.15);
  }
}

TEST_CASE("autocast: training follows f32", "[unit]") {
  manual_seed(3);
  const Tensor images = rand({16, 12, 12, 3});
  const Tensor labels = randint(0, 5, {16}, {.dtype = DType::i64});
  const auto losses = [&](DType dtype) {
    manual_seed(4);
    nn::ResNet network = small_resnet(nn::Stem::cifar);
    nn::SGD optimizer(network, {.lr = 0.05, .momentum = 0.9});
    std::vector<double> all;
    for (int i = 0; i < 8; ++i) {
      optimizer.zero_grad();
      Tensor loss;
      {
        const Autocast guard(dtype);
        loss = cross_entropy(network(images), labels);
      }
      loss.backward();
      optimizer.step();
      all.push_back(loss.item());
    }
    return all;
  };
  const std::vector<double> full = losses(DType::f32), mixed = losses(DType::bf16);
  CHECK(mixed == losses(DType::bf16));
  CHECK(mixed[0] != full[0]);
  CHECK(full.back() < 0.5 * full.front());
  for (std::size_t i = 0; i < full.size(); ++i) {
    INFO("step " << i << ": " << mixed[i] << ", f32 " << full[i]);
    CHECK(std::abs(mixed[i] - full[i]) < 0.02 * full[0]);
  }
}
