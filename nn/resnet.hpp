#pragma once
// ResNet-18, -34 and -50 (He, Zhang, Ren, Sun 2016) with torchvision's structure, names and
// initialisation, so that its weight files load:
//
//   conv1 bn1 act (max-pool)   stem
//   layer1 .. layer4           stages of BasicBlock (18, 34) or Bottleneck (50) of widths
//                              w, 2w, 4w, 8w; all but the first halve height and width in
//                              their first block
//   mean over the map          [N, 8 w e], e = 1 or 4 (Bottleneck); with pool_size p the means
//                              of p x p parts of it, [N, p p 8 w e]
//   fc                         if num_classes > 0
//
//   nn::ResNet encoder = nn::resnet18({.stem = nn::Stem::cifar});
//   encoder(images)            [N, H, W, 3] -> [N, 512]
//
// The stride of a Bottleneck is in its 3x3 convolution, as in torchvision ("v1.5").
#include <invar/nn/activation.hpp>
#include <invar/nn/modules.hpp>
#include <optional>

namespace invar::nn {

enum class Stem {
  imagenet,  ///< 7x7 convolution of stride 2 and 3x3 max-pool of stride 2: a quarter of the size
  cifar,     ///< 3x3 convolution of stride 1: the same size
};

struct ResNetOptions {
  std::int64_t in_channels = 3;
  std::int64_t width = 64;       ///< channels of the first stage; 64 is the published one
  std::int64_t num_classes = 0;  ///< 0: no fc, the output is the features
  Stem stem = Stem::imagenet;
  std::int64_t cifar_padding = 1;   ///< of the cifar stem; 2 lets the map grow by 2 (solo-learn)
  std::int64_t pool_size = 1;       ///< the last map is averaged to pool_size x pool_size
  bool zero_init_residual = false;  ///< each block starts as the identity: its last batch-norm is 0
  Activation activation = Activation::relu;
};

/// 3x3, 3x3.
class BasicBlock : public Module {
 public:
  static constexpr std::int64_t kExpansion = 1;
  BasicBlock(std::int64_t in_channels, std::int64_t width, std::int64_t stride,
             Activation activation);
  Tensor forward(const Tensor& x) override;
  BatchNorm2d& last_norm() { return bn2; }

  Conv2d conv1;
  BatchNorm2d bn1;
  Conv2d conv2;
  BatchNorm2d bn2;
  std::optional<Sequential> downsample;  ///< 1x1 convolution and batch-norm where the shape changes

 private:
  void members(Members& m) override;

  Activation activation_;
};

/// 1x1, 3x3, 1x1 with four times the channels.
class Bottleneck : public Module {
 public:
  static constexpr std::int64_t kExpansion = 4;
  Bottleneck(std::int64_t in_channels, std::int64_t width, std::int64_t stride,
             Activation activation);
  Tensor forward(const Tensor& x) override;
  BatchNorm2d& last_norm() { return bn3; }

  Conv2d conv1;
  BatchNorm2d bn1;
  Conv2d conv2;
  BatchNorm2d bn2;
  Conv2d conv3;
  BatchNorm2d bn3;
  std::optional<Sequential> downsample;

 private:
  void members(Members& m) override;

  Activation activation_;
};

class ResNet : public Module {
 public:
  /// `depth` is 18, 34 or 50.
  explicit ResNet(int depth, const ResNetOptions& options = {});

  /// The classes' logits [N, num_classes] if there is an fc, else the features.
  Tensor forward(const Tensor& x) override;
  /// [N, num_features].
  Tensor features(const Tensor& x);
  std::int64_t num_features() const { return num_features_; }

  Conv2d conv1;
  BatchNorm2d bn1;
  Sequential layer1, layer2, layer3, layer4;
  std::optional<Linear> fc;

 private:
  template <class Block>
  void make_stages(const std::array<int, 4>& blocks);
  void members(Members& m) override;

  ResNetOptions options_;
  std::int64_t num_features_ = 0;
};

inline ResNet resnet18(const ResNetOptions& options = {}) { return ResNet(18, options); }
inline ResNet resnet34(const ResNetOptions& options = {}) { return ResNet(34, options); }
inline ResNet resnet50(const ResNetOptions& options = {}) { return ResNet(50, options); }

}  // namespace invar::nn
