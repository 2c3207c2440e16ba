#include <invar/nn/init.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/pool.hpp>
#include <invar/ops/view.hpp>

namespace invar::nn {
namespace {

/// A convolution without bias that keeps the size of the map, but for the stride.
Conv2d conv(std::int64_t in_channels, std::int64_t out_channels, std::int64_t kernel,
            std::int64_t stride = 1) {
  return Conv2d(in_channels, out_channels, kernel, {.stride = stride, .padding = kernel / 2},
                /*with_bias=*/false);
}

std::optional<Sequential> shortcut(std::int64_t in_channels, std::int64_t out_channels,
                                   std::int64_t stride) {
  if (stride == 1 && in_channels == out_channels) return std::nullopt;
  return Sequential(conv(in_channels, out_channels, 1, stride), BatchNorm2d(out_channels));
}

/// activation(norm(x) + residual), in one op where there is one; `residual` may be undefined (0).
Tensor normalize(BatchNorm2d& norm, Activation activation, const Tensor& x,
                 const Tensor& residual = {}) {
  if (activation == Activation::relu) return norm.forward_relu(x, residual);
  const Tensor y = norm(x);
  return activate(activation, residual.defined() ? y + residual : y);
}

/// The first convolution, and with it the first look at the options.
Conv2d stem_conv(const ResNetOptions& o) {
  check(
      o.in_channels >= 1 && o.width >= 1 && o.pool_size >= 1 && o.num_classes >= 0, "ResNet",
      "expected in_channels, width and pool_size of at least 1 and num_classes of at least 0, got "
      "{}, {}, {} and {}",
      o.in_channels, o.width, o.pool_size, o.num_classes);
  const bool cifar = o.stem == Stem::cifar;
  return Conv2d(o.in_channels, o.width, cifar ? 3 : 7,
                {.stride = cifar ? 1 : 2, .padding = cifar ? o.cifar_padding : 3},
                /*with_bias=*/false);
}

}  // namespace

// --- blocks ------------------------------------------------------------------------------------

BasicBlock::BasicBlock(std::int64_t in_channels, std::int64_t width, std::int64_t stride,
                       Activation activation)
    : conv1(conv(in_channels, width, 3, stride)),
      bn1(width),
      conv2(conv(width, width, 3)),
      bn2(width),
      downsample(shortcut(in_channels, width, stride)),
      activation_(activation) {}

Tensor BasicBlock::forward(const Tensor& x) {
  const Tensor y = normalize(bn1, activation_, conv1(x));
  return normalize(bn2, activation_, conv2(y), downsample ? (*downsample)(x) : x);
}

void BasicBlock::members(Members& m) {
  m("conv1", conv1);
  m("bn1", bn1);
  m("conv2", conv2);
  m("bn2", bn2);
  m("downsample", downsample);
}

Bottleneck::Bottleneck(std::int64_t in_channels, std::int64_t width, std::int64_t stride,
                       Activation activation)
    : conv1(conv(in_channels, width, 1)),
      bn1(width),
      conv2(conv(width, width, 3, stride)),
      bn2(width),
      conv3(conv(width, kExpansion * width, 1)),
      bn3(kExpansion * width),
      downsample(shortcut(in_channels, kExpansion * width, stride)),
      activation_(activation) {}

Tensor Bottleneck::forward(const Tensor& x) {
  Tensor y = normalize(bn1, activation_, conv1(x));
  y = normalize(bn2, activation_, conv2(y));
  return normalize(bn3, activation_, conv3(y), downsample ? (*downsample)(x) : x);
}

void Bottleneck::members(Members& m) {
  m("conv1", conv1);
  m("bn1", bn1);
  m("conv2", conv2);
  m("bn2", bn2);
  m("conv3", conv3);
  m("bn3", bn3);
  m("downsample", downsample);
}

// --- network -----------------------------------------------------------------------------------

ResNet::ResNet(int depth, const ResNetOptions& options)
    : conv1(stem_conv(options)), bn1(options.width), options_(options) {
  if (depth == 18) {
    make_stages<BasicBlock>({2, 2, 2, 2});
  } else if (depth == 34) {
    make_stages<BasicBlock>({3, 4, 6, 3});
  } else if (depth == 50) {
    make_stages<Bottleneck>({3, 4, 6, 3});
  } else {
    fail("ResNet", "expected depth 18, 34 or 50, got {}", depth);
  }
  apply([](Module& module) {
    if (auto* c = dynamic_cast<Conv2d*>(&module)) {
      init::kaiming_normal_(
          c->weight, {.mode = init::FanMode::fan_out, .nonlinearity = init::Nonlinearity::relu});
    }
  });
  if (options.num_classes > 0) fc.emplace(num_features_, options.num_classes);
}

template <class Block>
void ResNet::make_stages(const std::array<int, 4>& blocks) {
  Sequential* const stages[] = {&layer1, &layer2, &layer3, &layer4};
  std::int64_t channels = options_.width;
  for (int s = 0; s < 4; ++s) {
    const std::int64_t width = options_.width << s;
    for (int b = 0; b < blocks[static_cast<std::size_t>(s)]; ++b) {
      Block block(channels, width, s > 0 && b == 0 ? 2 : 1, options_.activation);
      if (options_.zero_init_residual) init::zeros_(block.last_norm().weight);
      stages[s]->push_back(std::move(block));
      channels = Block::kExpansion * width;
    }
  }
  num_features_ = channels * options_.pool_size * options_.pool_size;
}

Tensor ResNet::features(const Tensor& x) {
  Tensor y = normalize(bn1, options_.activation, conv1(x));
  if (options_.stem == Stem::imagenet) y = max_pool2d(y, 3, 2, 1);
  for (Sequential* stage : {&layer1, &layer2, &layer3, &layer4}) y = (*stage)(y);
  return flatten(adaptive_avg_pool2d(y, options_.pool_size), 1);
}

Tensor ResNet::forward(const Tensor& x) {
  const Tensor y = features(x);
  return fc ? (*fc)(y) : y;
}

void ResNet::members(Members& m) {
  m("conv1", conv1);
  m("bn1", bn1);
  m("layer1", layer1);
  m("layer2", layer2);
  m("layer3", layer3);
  m("layer4", layer4);
  m("fc", fc);
}

}  // namespace invar::nn
