#pragma once
// Narrow images side by side, for convolutions on AMX.
//
// An AMX tile is 16 pixels of one row of an image: with images of 4x4 three quarters of it are
// idle, and oneDNN's gradient of the weight takes five times as long as it has to. So `images` of
// them become one wide image, with as many columns of zeros after each as there is padding:
//
//   x  [N, H, W, C]   ->  [N / images, H, images x_pitch, C]    image i begins at column i x_pitch
//   y  [N, P, Q, O]  <->  [N / images, P, images y_pitch, O]    x_pitch = stride y_pitch
//
// No window that belongs to an image then sees another one. Columns of y between the images mean
// nothing; of a gradient they are zeros.
#include <invar/ops/conv_choices.hpp>
#include <optional>

namespace invar::cpu {

struct ImageRows {
  std::int64_t images, x_pitch, y_pitch;

  /// The wide images of x, in memory that is not set.
  Tensor room(const Tensor& x, std::int64_t pitch) const;
  /// room, with x in it and zeros between its images.
  Tensor pack(const Tensor& x, std::int64_t pitch) const;
  /// The images of `wide` to out.
  void unpack(const Tensor& wide, std::int64_t pitch, const Tensor& out) const;
};

/// For x of this shape; none if the kernel or its padding does not let images stand like this, or
/// if no number of images that makes a row wide enough divides N.
std::optional<ImageRows> image_rows(const Dims& x, const Dims& weight, const Conv2dOptions& o);

/// True iff this pass is faster for it. From bench_conv, 128 images on two cores of an Intel Xeon:
/// 512 channels of 4x4, forward and gradient of the input 12.1 to 5.5 ms, of the weight 34 to 6.4
/// ms; 256 channels of 8x8, gradient of the weight 10.2 to 8.4 ms.
bool prefers_image_rows(ConvPass pass, DType dtype, std::int64_t width);

}  // namespace invar::cpu
