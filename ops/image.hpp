#pragma once
// Augmenting a batch of images on a GPU: what the transforms of data/transforms.hpp are there.
//
//   StoredImages --sample_images--> f32 [B,H,W,C] --image_step--> ... --> views
//
// Each image of a batch has parameters of its own, f32 [B,P], those that the transform draws. The
// CPU has no kernels of this kind: data/pixels.hpp does one image after another there. Both compute
// a pixel by the functions of functors/image.hpp. No gradients.
#include <array>
#include <invar/core/tensor.hpp>
#include <variant>

namespace invar {

enum class Interpolation { bilinear, bicubic };

/// 8-bit images [H,W,C] one after another, of any sizes. All on one GPU.
struct StoredImages {
  Tensor bytes;    ///< u8
  Tensor offsets;  ///< i64 [N]: where each begins
  Tensor sizes;    ///< i32 [N,2]: height and width
  int channels;    ///< 1 or 3
};

/// The steps; P and the parameters are their transforms' (data/transforms.hpp).
namespace image_steps {

/// A box of the image, or (`whole`, P = 0) all of it, resized.
struct ResizedCrop {
  int height, width;
  Interpolation interpolation;
  bool whole;
};
/// The central part.
struct CenterCrop {
  int height, width;
};
struct HorizontalFlip {};
/// Brightness, contrast, saturation, hue: those that are left out do nothing.
struct ColorJitter {
  std::array<bool, 4> parts;
};
struct Grayscale {};
struct GaussianBlur {
  int kernel_size;
};
struct Solarize {
  float threshold;
};
struct Erase {
  bool noise;
  std::array<float, 3> value;
};
struct Normalize {
  std::array<float, 3> mean, std;
};

}  // namespace image_steps

using ImageStep =
    std::variant<image_steps::ResizedCrop, image_steps::CenterCrop, image_steps::HorizontalFlip,
                 image_steps::ColorJitter, image_steps::Grayscale, image_steps::GaussianBlur,
                 image_steps::Solarize, image_steps::Erase, image_steps::Normalize>;

/// The images with these numbers (i64 [B], each in [0, N)), 0 is black and 1 is white: f32
/// [B,H,W,C].
Tensor sample_images(const StoredImages& stored, const Tensor& indices,
                     const image_steps::ResizedCrop& step, const Tensor& params);

/// The images [B,H,W,C] after a step: `images` itself, overwritten, unless their size changes.
Tensor image_step(const Tensor& images, const ImageStep& step, const Tensor& params);

}  // namespace invar
