#pragma once
// The pixel arithmetic of the augmentations: pure functions of pixels and parameters, no
// randomness.
//
//   Canvas      one image on its way through a pipeline: planar f32 [C,H,W], 0 is black, 1 is white
//   functions   torchvision.transforms.functional's definitions for float tensors, except that
//               results outside [0, 1] are clamped, those of resizing included, as PIL does
//
// Why planar: colour arithmetic needs the three channels of a pixel in three vectors, and rows of
// one channel are contiguous for flips, blurs and resizing.
//
// Sources: torchvision/transforms/_functional_tensor.py; Pillow's Resample.c for the antialiased
// resize: horizontal pass first, each pass clamped. (Pillow 13 begins with the vertical pass where
// the height shrinks much more than the width; torchvision's resize of tensors does not clamp in
// between.)
//
// Threads: a Canvas belongs to one thread.
#include <array>
#include <cstddef>
#include <invar/data/image.hpp>
#include <invar/ops/image.hpp>
#include <span>
#include <vector>

namespace invar {

/// A working image and its buffers, which are kept from image to image: a thread that reuses its
/// Canvas allocates nothing once they have grown to the largest image.
class Canvas {
 public:
  /// Starts on a new image. It is not copied until the first use of its pixels, so that a crop
  /// reads no more than it needs; it must live until then.
  void reset(const Image& image);

  ImageShape shape() const { return shape_; }
  /// The pixels, [C,H,W].
  std::span<float> pixels();
  /// The pixels of one channel, [H,W].
  std::span<float> plane(int channel);
  /// The 8-bit image while the pixels are still exactly it, or nullptr.
  const Image* source() const { return source_; }

  /// A second buffer for an image of this shape; `adopt` makes it the canvas's pixels.
  std::span<float> spare(ImageShape shape);
  void adopt(ImageShape shape);

  /// Scratch memory, slot 0 or 1; its content is undefined.
  std::span<float> scratch(int slot, std::size_t size);

  /// Writes the pixels as [H,W,C].
  void copy_to(float* out);

 private:
  const Image* source_ = nullptr;
  ImageShape shape_;
  std::vector<float> pixels_;
  std::vector<float> spare_;
  std::array<std::vector<float>, 2> scratch_;
};

/// A rectangle of pixels.
struct Box {
  int top = 0;
  int left = 0;
  int height = 0;
  int width = 0;
};

/// Error unless the box lies inside the image and is not empty.
void check_box(const char* op, const Box& box, ImageShape image);

/// Crops to `box` and resizes the crop to height x width, with antialiasing: where an axis shrinks
/// by a factor s, the kernel is stretched by s. The bicubic kernel has a = -1/2. Error unless the
/// box lies inside the image.
void resized_crop(Canvas& canvas, const Box& box, int height, int width,
                  Interpolation interpolation);

/// Cuts out `box`. Error unless it lies inside the image.
void crop(Canvas& canvas, const Box& box);

/// Mirrors left and right.
void hflip(Canvas& canvas);

/// x <- clamp(factor x).
void adjust_brightness(Canvas& canvas, float factor);

/// x <- clamp(factor x + (1 - factor) m), m = the mean of grey over the image.
void adjust_contrast(Canvas& canvas, float factor);

/// x <- clamp(factor x + (1 - factor) grey(x)). A grey image stays as it is.
void adjust_saturation(Canvas& canvas, float factor);

/// Turns the hue by shift (1 is the full circle) in HSV space. A grey image stays as it is.
void adjust_hue(Canvas& canvas, float shift);

/// Every channel becomes grey(x) = 0.2989 R + 0.587 G + 0.114 B.
void to_grayscale(Canvas& canvas);

/// x <- 1 - x where x >= threshold.
void solarize(Canvas& canvas, float threshold);

/// Convolves each axis with exp(-k^2 / (2 sigma^2)), k = -kernel_size/2 .. kernel_size/2,
/// normalised to sum 1, over mirrored borders (the border pixel is not repeated). kernel_size is
/// odd, kernel_size / 2 < height and width.
void gaussian_blur(Canvas& canvas, int kernel_size, float sigma);

/// Sets every pixel of `box` to value[c] in channel c. Error unless it lies inside the image.
void erase(Canvas& canvas, const Box& box, std::span<const float> value);

/// x <- (x - mean[c]) / std[c].
void normalize(Canvas& canvas, std::span<const float> mean, std::span<const float> std);

}  // namespace invar
