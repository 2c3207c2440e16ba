#pragma once
// Image: decoded 8-bit pixels, and the way in from and out to JPEG and PNG.
//
//   bytes --decode_image--> Image [H,W,C], C = 1 (grey) or 3 (RGB)
//   Image --encode_png----> bytes
//
// Decoders take bytes from anywhere: no input, however damaged, crashes them or makes them allocate
// more than its limits allow. Every error is an invar::Error that names the file. A file that ends
// early or fails its checksum is an error, never a half-grey picture. Pixels come as they are
// stored: a camera's note of how it was held (EXIF) is not looked at, as in torchvision.
//
// Threads: everything here may be called from any number of threads at once.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace invar {

/// Size of an image; height and width are 0 where the images of a set differ in size.
struct ImageShape {
  int height = 0;
  int width = 0;
  int channels = 0;

  std::size_t size() const { return std::size_t{1} * height * width * channels; }
  bool operator==(const ImageShape&) const = default;
};

/// Pixels 0..255, row by row, channels innermost: pixels.size() == shape.size().
struct Image {
  ImageShape shape;
  std::vector<std::uint8_t> pixels;
};

/// Error unless it is that of an image of 1 or 3 channels.
void check_shape(std::string_view op, const ImageShape& shape);

/// Error unless the image has 1 or 3 channels and as many bytes as its shape says.
void check_image(std::string_view op, const Image& image);

/// What a decoder delivers and what it refuses.
struct DecodeOptions {
  /// 1: grey, 3: RGB, 0: whichever the file holds (palettes are RGB). Alpha is dropped; colour
  /// becomes grey as L = 0.299 R + 0.587 G + 0.114 B.
  int channels = 0;
  /// Largest height x width; a file that declares more is refused before its pixels are allocated.
  std::int64_t max_pixels = std::int64_t{1} << 26;
};

/// Baseline and progressive JPEG; grey, YCbCr, RGB, and CMYK as Adobe writes it. `name` is the
/// file's name in errors.
Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                  const DecodeOptions& options = {});

/// PNG of any colour type and depth; 16-bit samples are rounded to 8.
Image decode_png(std::span<const std::uint8_t> bytes, const std::string& name,
                 const DecodeOptions& options = {});

/// JPEG or PNG, told apart by the first bytes, not by the file's name.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options = {});

/// decode_image of a file.
Image read_image(const std::string& path, const DecodeOptions& options = {});

/// The image as a PNG file's bytes.
std::string encode_png(const Image& image);

}  // namespace invar
