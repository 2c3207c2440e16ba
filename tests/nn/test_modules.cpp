// Layers and networks: names as torchvision's, shapes, initialisation, batch-norm's statistics,
// training in parts.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fstream>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/init.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>

#include "nn_testing.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

/// "parameter conv1.weight [64, 3, 7, 7]", shapes as in files, in order.
std::vector<std::string> described(nn::Module& module) {
  std::vector<std::string> lines;
  for (const auto& p : module.named_parameters()) {
    lines.push_back(
        fmt::format("parameter {} {}", p.name, nn::file_view(p.tensor, p.layout).shape()));
  }
  for (const auto& b : module.named_buffers()) {
    lines.push_back(fmt::format("buffer {} {}", b.name, b.tensor.shape()));
  }
  return lines;
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.is_open());
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

double std_of(const Tensor& x) {
  double square = 0;
  const auto values = values_of(x);
  for (double v : values) square += v * v;
  return std::sqrt(square / static_cast<double>(values.size()));
}

}  // namespace

TEST_CASE("ResNets consist of what torchvision's do") {
  nn::ResNet r18 = nn::resnet18({.num_classes = 1000});
  CHECK(described(r18) == lines_of("tests/nn/data/resnet18.txt"));
  CHECK(nn::count_parameters(r18) == 11689512);
  nn::ResNet r50 = nn::resnet50({.num_classes = 1000});
  CHECK(described(r50) == lines_of("tests/nn/data/resnet50.txt"));
  CHECK(nn::count_parameters(r50) == 25557032);
  nn::ResNet r34 = nn::resnet34({.width = 2});
  CHECK(r34.layer2.size() == 4);
  CHECK(r34.layer3.size() == 6);
  CHECK(r34.num_features() == 16);
}

TEST_CASE("ResNet options", "[smoke]") {
  NoGrad guard;
  nn::ResNet narrow = nn::resnet18({.in_channels = 1, .width = 8, .stem = nn::Stem::cifar});
  CHECK(narrow(rand({2, 13, 11, 1})).shape() == Dims{2, 64});
  CHECK(narrow.num_features() == 64);
  CHECK(narrow.conv1.weight.shape() == Dims{8, 3, 3, 1});
  CHECK(narrow.layer1.size() == 2);
  nn::ResNet padded = nn::resnet18({.width = 4, .stem = nn::Stem::cifar, .cifar_padding = 2});
  CHECK(padded.conv1(rand({1, 8, 8, 3})).shape() == Dims{1, 10, 10, 4});
  nn::ResNet deep = nn::resnet50({.width = 4, .num_classes = 5});
  CHECK(deep(rand({2, 32, 40, 3})).shape() == Dims{2, 5});
  CHECK(deep.features(rand({2, 32, 40, 3})).shape() == Dims{2, 128});
  nn::ResNet quarters = nn::resnet18({.width = 4, .stem = nn::Stem::cifar, .pool_size = 2});
  const Tensor parts = quarters(rand({3, 20, 20, 3}));  // a last map of 3x3
  CHECK(parts.shape() == Dims{3, 4 * 32});
  CHECK(quarters.num_features() == 4 * 32);

  CHECK_THROWS_AS(nn::ResNet(20), Error);
  CHECK_THROWS_AS(nn::resnet18({.pool_size = 0}), Error);
  CHECK_THROWS_AS(nn::resnet18({.width = 0}), Error);
  CHECK_THAT(message_of([&] { narrow(rand({2, 8, 8, 3})); }), ContainsSubstring("conv2d"));
}

TEST_CASE("A zero-initialised residual makes every block the identity") {
  NoGrad guard;
  nn::ResNet net = nn::resnet50({.width = 4, .stem = nn::Stem::cifar, .zero_init_residual = true});
  auto& block = net.layer1.at<nn::Bottleneck>(1);
  const Tensor x = rand({2, 4, 4, 16});
  CHECK(values_of(block(x)) == values_of(x));
  CHECK(values_of(net.layer1.at<nn::Bottleneck>(0).bn2.weight)[0] == 1);
}

TEST_CASE("The activation of a ResNet can be replaced") {
  NoGrad guard;
  manual_seed(5);
  nn::ResNet net =
      nn::resnet18({.width = 2, .stem = nn::Stem::cifar, .activation = nn::Activation::softplus});
  auto& block = net.layer1.at<nn::BasicBlock>(0);
  net.eval();
  const Tensor x = rand({1, 3, 3, 2});
  const Tensor want = softplus(block.bn2(block.conv2(softplus(block.bn1(block.conv1(x))))) + x);
  CHECK(values_of(block(x)) == values_of(want));
  for (const char* name :
       {"identity", "relu", "leaky_relu", "gelu", "silu", "softplus", "tanh", "sigmoid"}) {
    CHECK(nn::name_of(nn::parse_activation(name)) == name);
    CHECK(nn::activate(nn::parse_activation(name), x).shape() == x.shape());
  }
  CHECK_THAT(message_of([] { nn::parse_activation("rely"); }),
             ContainsSubstring("did you mean \"relu\""));
}

TEST_CASE("A ResNet starts as torchvision's") {
  manual_seed(1);
  nn::ResNet net = nn::resnet18({.num_classes = 100});
  CHECK_THAT(std_of(net.conv1.weight), WithinRel(std::sqrt(2.0 / (64 * 49)), 0.03));
  const auto& block = net.layer3.at<nn::BasicBlock>(0);
  CHECK_THAT(std_of(block.conv1.weight), WithinRel(std::sqrt(2.0 / (256 * 9)), 0.01));
  CHECK_THAT(std_of(net.layer3.at<nn::BasicBlock>(0).downsample->at<nn::Conv2d>(0).weight),
             WithinRel(std::sqrt(2.0 / 256), 0.02));
  CHECK(std_of(block.bn2.weight) == 1);
  CHECK(std_of(block.bn2.bias) == 0);
  CHECK(std_of(block.bn2.running_var) == 1);
  CHECK_THAT(std_of(net.fc->weight), WithinRel(1 / std::sqrt(3.0 * 512), 0.02));
  CHECK_THAT(std_of(net.fc->bias), WithinRel(1 / std::sqrt(3.0 * 512), 0.25));
}

TEST_CASE("Layers start as PyTorch's") {
  manual_seed(2);
  nn::Linear linear(100, 300);
  CHECK_THAT(std_of(linear.weight), WithinRel(0.1 / std::sqrt(3.0), 0.02));
  CHECK_THAT(std_of(linear.bias), WithinRel(0.1 / std::sqrt(3.0), 0.15));
  nn::Conv2d conv(16, 64, 3, {.groups = 2});
  CHECK(conv.weight.shape() == Dims{64, 3, 3, 8});
  CHECK_THAT(std_of(conv.weight), WithinRel(1 / std::sqrt(3.0 * 72), 0.03));
  CHECK(conv.weight.layout() == nn::FileLayout::oihw);
  CHECK_FALSE(nn::Linear(2, 3, false).bias.defined());
  CHECK(nn::Linear(2, 3, false).named_parameters().size() == 1);
  CHECK_THROWS_AS(nn::Conv2d(3, 4, 3, {.groups = 2}), Error);
  CHECK(values_of(nn::Linear(0, 2)(ones({1, 0}))) == std::vector<double>{0, 0});
  CHECK(nn::Conv2d(0, 2, 3)(ones({1, 4, 4, 0})).shape() == Dims{1, 2, 2, 2});
  manual_seed(2);
  CHECK(values_of(nn::Linear(100, 300).weight) == values_of(linear.weight));
}

TEST_CASE("Layers compute their op") {
  NoGrad guard;
  nn::Linear linear(2, 1);
  nn::init::constant_(linear.weight, 2);
  nn::init::constant_(linear.bias, 1);
  CHECK(values_of(linear(tensor({1.0, 3.0}))) == std::vector<double>{9});
  nn::LayerNorm norm({4});
  const auto y = values_of(norm(tensor({1.0, 1.0, 3.0, 3.0})));
  CHECK_THAT(y[0], WithinAbs(-1, 1e-4));
  CHECK_THAT(y[3], WithinAbs(1, 1e-4));
  const Tensor image = rand({2, 6, 8, 3});
  CHECK(nn::MaxPool2d(2)(image).shape() == Dims{2, 3, 4, 3});
  CHECK(nn::AvgPool2d(3, 1, 1)(image).shape() == image.shape());
  CHECK(nn::AdaptiveAvgPool2d(1)(image).shape() == Dims{2, 1, 1, 3});
  CHECK(nn::AdaptiveMaxPool2d({2, 3})(image).shape() == Dims{2, 2, 3, 3});
  CHECK(nn::Flatten()(image).shape() == Dims{2, 144});
  const Tensor x = tensor({-1.0, 2.0});
  CHECK(values_of(nn::ReLU()(x)) == values_of(relu(x)));
  CHECK(values_of(nn::LeakyReLU(0.2)(x)) == values_of(leaky_relu(x, 0.2)));
  CHECK(values_of(nn::GELU()(x)) == values_of(gelu(x)));
  CHECK(values_of(nn::SiLU()(x)) == values_of(silu(x)));
  CHECK(values_of(nn::Softplus(2)(x)) == values_of(softplus(x, 2)));
  CHECK(values_of(nn::Tanh()(x)) == values_of(tanh(x)));
  CHECK(values_of(nn::Sigmoid()(x)) == values_of(sigmoid(x)));
  CHECK(values_of(nn::Identity()(x)) == values_of(x));

  nn::Dropout dropout(0.25);
  const auto dropped = values_of(dropout(ones({4000})));
  const auto zeros = std::count(dropped.begin(), dropped.end(), 0.0);
  CHECK(std::abs(static_cast<double>(zeros) / 4000 - 0.25) < 0.03);
  CHECK_THAT(*std::max_element(dropped.begin(), dropped.end()), WithinRel(1 / 0.75, 1e-6));
  dropout.eval();
  CHECK(values_of(dropout(x)) == values_of(x));
  CHECK_THROWS_AS(nn::Dropout(1.5), Error);
}

TEST_CASE("Batch-norm tracks statistics as PyTorch does") {
  NoGrad guard;
  const Tensor x =
      tensor(std::vector<double>{1, 3, 5, 7}, {4, 1});  // mean 4, variance 5, unbiased 20/3
  nn::BatchNorm1d norm(1);
  CHECK_THAT(values_of(norm(x))[0], WithinAbs(-3 / std::sqrt(5 + 1e-5), 1e-6));
  CHECK_THAT(values_of(norm.running_mean)[0], WithinAbs(0.4, 1e-6));
  CHECK_THAT(values_of(norm.running_var)[0], WithinAbs(0.9 + 0.1 * 20 / 3, 1e-6));
  CHECK(norm.num_batches_tracked.item() == 1);
  norm.eval();
  CHECK_THAT(values_of(norm(x))[0], WithinAbs(0.6 / std::sqrt(0.9 + 0.1 * 20 / 3 + 1e-5), 1e-6));
  CHECK(norm.num_batches_tracked.item() == 1);

  nn::BatchNorm1d average(1, 1e-5, std::nullopt);
  average(x);
  CHECK_THAT(values_of(average.running_mean)[0], WithinAbs(4, 1e-6));
  average(x + 2);
  CHECK_THAT(values_of(average.running_mean)[0], WithinAbs(5, 1e-6));
  average.reset_running_stats();
  CHECK(values_of(average.running_mean)[0] == 0);
  CHECK(average.num_batches_tracked.item() == 0);
  // What is refused, or empty, is not counted.
  CHECK_THROWS_AS(average(narrow(x, 0, 0, 1)), Error);
  CHECK_THROWS_AS(average.forward_relu(x, zeros({1})), Error);
  average(narrow(x, 0, 0, 0));
  CHECK(average.num_batches_tracked.item() == 0);

  nn::BatchNorm1d bare(1, 1e-5, 0.1, /*affine=*/false, /*track_running_stats=*/false);
  CHECK(bare.named_parameters().empty());
  CHECK(bare.named_buffers().empty());
  bare.eval();
  CHECK_THAT(values_of(bare(x))[0], WithinAbs(-3 / std::sqrt(5 + 1e-5), 1e-6));
  CHECK_THROWS_AS(norm(rand({2, 2, 2, 1})), Error);
  CHECK_THROWS_AS(nn::BatchNorm2d(1)(x), Error);
}

TEST_CASE("update_bn measures the statistics of the weights as they are") {
  nn::Sequential net(nn::Linear(1, 1), nn::BatchNorm1d(1));
  nn::init::constant_(net.at<nn::Linear>(0).weight, 2);
  nn::init::constant_(net.at<nn::Linear>(0).bias, 0);
  auto& norm = net.at<nn::BatchNorm1d>(1);
  net.eval();
  int batches = 0;
  nn::update_bn(net, [&]() -> Tensor {
    return ++batches <= 4 ? tensor(std::vector<double>{1.0 * batches, 2.0 + batches}, {2, 1})
                          : Tensor();
  });
  CHECK_THAT(values_of(norm.running_mean)[0], WithinAbs(2 * 3.5, 1e-5));
  CHECK_THAT(values_of(norm.running_var)[0], WithinAbs(8, 1e-5));
  CHECK(norm.momentum == 0.1);
  CHECK_FALSE(net.is_training());
  CHECK_FALSE(norm.is_training());
  CHECK_THROWS_AS(nn::update_bn(net, []() -> Tensor { return ones({1}); }), Error);
  CHECK(norm.momentum == 0.1);
}

TEST_CASE("Gradients of the parts of a batch add up to that of the whole") {
  manual_seed(4);
  nn::Sequential net(nn::Conv2d(2, 3, 3), nn::ReLU(), nn::Flatten(), nn::Linear(3 * 9, 4),
                     nn::Tanh());
  net.to(DType::f64);
  const Tensor x = rand({6, 5, 5, 2}, {.dtype = DType::f64});
  const auto loss = [&](const Tensor& images) { return mean(square(net(images) - 0.3)); };
  loss(x).backward();
  std::vector<std::vector<double>> whole;
  for (const Tensor& p : net.parameters()) whole.push_back(values_of(p.grad()));
  net.zero_grad();
  for (int part = 0; part < 3; ++part) (loss(narrow(x, 0, 2 * part, 2)) / 3).backward();
  std::size_t k = 0;
  for (const Tensor& p : net.parameters()) {
    const auto parts = values_of(p.grad());
    for (std::size_t i = 0; i < parts.size(); ++i)
      REQUIRE_THAT(parts[i], WithinAbs(whole[k][i], 1e-14));
    ++k;
  }
}

TEST_CASE("A module of ten lines trains", "[smoke]") {
  class Mlp : public nn::Module {
   public:
    Mlp(std::int64_t in, std::int64_t hidden, std::int64_t out)
        : fc1(in, hidden), fc2(hidden, out) {}
    Tensor forward(const Tensor& x) override { return fc2(relu(fc1(x))); }
    nn::Linear fc1, fc2;

   private:
    void members(nn::Members& m) override {
      m("fc1", fc1);
      m("fc2", fc2);
    }
  };
  manual_seed(0);
  Mlp net(2, 16, 1);
  const Tensor x = tensor(std::vector<double>{0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
  const Tensor xor_of = tensor(std::vector<double>{0, 1, 1, 0}, {4, 1});
  nn::AdamW optimizer(net, {.lr = 0.02, .weight_decay = 0});
  double last = 0;
  for (int step = 0; step < 300; ++step) {
    optimizer.zero_grad();
    const Tensor loss = mean(square(net(x) - xor_of));
    loss.backward();
    optimizer.step();
    last = loss.item();
  }
  CHECK(last < 1e-3);
  CHECK(net.state_dict().contains("fc1.weight"));
}
