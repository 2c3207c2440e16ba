#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <invar/data/image.hpp>
#include <memory>
#include <string_view>

namespace invar {
namespace {

// The largest side either format can declare sensibly; PNG allows 2^31 - 1.
constexpr int kMaxSide = 1 << 20;

void check_size(std::string_view op, const std::string& name, std::int64_t height,
                std::int64_t width, const DecodeOptions& options) {
  check(options.channels == 0 || options.channels == 1 || options.channels == 3, op,
        "expected channels 0, 1 or 3, got {}", options.channels);
  check(height > 0 && width > 0, op, "{}: expected a size above 0, got {} x {} pixels", name,
        height, width);
  check(height <= kMaxSide && width <= kMaxSide && height * width <= options.max_pixels, op,
        "{}: expected at most {} pixels, the file declares {} x {}: raise "
        "max_pixels if it is right",
        name, options.max_pixels, height, width);
}

std::uint8_t luminance(int r, int g, int b) {
  return static_cast<std::uint8_t>((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}

/// Repeats grey or mixes colour, as `channels` (0: leave) asks.
void convert_channels(Image& image, int channels) {
  if (channels == 0 || channels == image.shape.channels) return;
  const std::size_t count = std::size_t{1} * image.shape.height * image.shape.width;
  std::vector<std::uint8_t> converted(count * static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* from = &image.pixels[i * static_cast<std::size_t>(image.shape.channels)];
    if (channels == 1) {
      converted[i] = luminance(from[0], from[1], from[2]);
    } else {
      std::fill_n(&converted[3 * i], 3, from[0]);
    }
  }
  image.pixels = std::move(converted);
  image.shape.channels = channels;
}

// ---- JPEG ---------------------------------------------------------------------------------------

struct TurboJpegDeleter {
  void operator()(void* handle) const { tjDestroy(handle); }
};

/// One decompressor per thread: making one costs as much as decoding a small image. After a failure
/// it must be dropped (reset), since TurboJPEG may leave it in the middle of an image.
using JpegDecompressor = std::unique_ptr<void, TurboJpegDeleter>;
JpegDecompressor& jpeg_decompressor() {
  thread_local JpegDecompressor decompressor;
  if (!decompressor) decompressor.reset(tjInitDecompress());
  internal_check(decompressor != nullptr, "decode_jpeg", "TurboJPEG gave no decompressor");
  return decompressor;
}

/// What went wrong last; drops the decompressor.
std::string jpeg_problem(JpegDecompressor& decompressor) {
  std::string problem = tjGetErrorStr2(decompressor.get());
  decompressor.reset();
  return problem;
}

/// Adobe's CMYK is stored inverted, so ink k and colour c multiply: R = C K / 255.
std::vector<std::uint8_t> rgb_from_inverted_cmyk(const std::vector<std::uint8_t>& cmyk) {
  std::vector<std::uint8_t> rgb(cmyk.size() / 4 * 3);
  for (std::size_t i = 0; i < cmyk.size() / 4; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      rgb[3 * i + c] = static_cast<std::uint8_t>((cmyk[4 * i + c] * cmyk[4 * i + 3] + 127) / 255);
    }
  }
  return rgb;
}

// ---- PNG ----------------------------------------------------------------------------------------
//
// libpng reports errors by longjmp. A jump over a live C++ object is undefined, so setjmp stands
// only in the two functions below, whose locals (and whose callees') are trivial; everything that
// owns memory lives in their caller.

struct PngInput {
  const std::uint8_t* data;
  std::size_t left;
  char message[128];
};

struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_png_error(png_structp png, png_const_charp message) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::snprintf(input->message, sizeof input->message, "%s", message);
  png_longjmp(png, 1);
}

void on_png_warning(png_structp, png_const_charp) {}

void read_png_bytes(png_structp png, png_bytep out, std::size_t size) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  if (size > input->left) png_error(png, "the file ends early");
  std::memcpy(out, input->data, size);
  input->data += size;
  input->left -= size;
}

bool read_png_header(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_info(png, info);
  return true;
}

/// After the header was accepted: `rows` point at height rows of png_get_rowbytes bytes.
bool start_png_pixels(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool read_png_pixels(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

}  // namespace

Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                  const DecodeOptions& options) {
  constexpr std::string_view kOp = "decode_jpeg";
  JpegDecompressor& decompressor = jpeg_decompressor();
  const auto size = static_cast<unsigned long>(bytes.size());
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decompressor.get(), bytes.data(), size, &width, &height, &subsampling,
                          &colours) != 0) {
    fail(kOp, "{}: expected a JPEG file, got {} bytes that are not one ({})", name, bytes.size(),
         jpeg_problem(decompressor));
  }
  check_size(kOp, name, height, width, options);

  const bool inks = colours == TJCS_CMYK || colours == TJCS_YCCK;
  const bool grey = colours == TJCS_GRAY || (options.channels == 1 && colours == TJCS_YCbCr);
  const int format = inks ? TJPF_CMYK : grey ? TJPF_GRAY : TJPF_RGB;
  Image image{{height, width, inks ? 4 : grey ? 1 : 3}, {}};
  image.pixels.resize(image.shape.size());
  if (tjDecompress2(decompressor.get(), bytes.data(), size, image.pixels.data(), width, 0, height,
                    format, TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT) != 0) {
    // A warning means that pixels were made up from here on, except for stray bytes between two
    // segments, which some cameras write and which cost nothing.
    const bool warning = tjGetErrorCode(decompressor.get()) == TJERR_WARNING;
    const std::string problem = jpeg_problem(decompressor);
    check(warning && problem.find("extraneous bytes") != std::string::npos, kOp,
          "{}: expected an intact JPEG file, got a damaged one ({})", name, problem);
  }
  if (inks) {
    image.pixels = rgb_from_inverted_cmyk(image.pixels);
    image.shape.channels = 3;
  }
  convert_channels(image, options.channels);
  return image;
}

Image decode_png(std::span<const std::uint8_t> bytes, const std::string& name,
                 const DecodeOptions& options) {
  constexpr std::string_view kOp = "decode_png";
  PngInput input{bytes.data(), bytes.size(), ""};
  PngReader reader;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, on_png_error, on_png_warning);
  internal_check(reader.png != nullptr, kOp, "libpng gave no reader");
  reader.info = png_create_info_struct(reader.png);
  internal_check(reader.info != nullptr, kOp, "libpng gave no information struct");
  png_set_read_fn(reader.png, &input, read_png_bytes);
  png_set_user_limits(reader.png, kMaxSide, kMaxSide);
  png_set_chunk_malloc_max(reader.png, 1 << 23);

  check(read_png_header(reader.png, reader.info), kOp,
        "{}: expected a PNG file, got {} bytes that are not one ({})", name, bytes.size(),
        input.message);
  const png_uint_32 width = png_get_image_width(reader.png, reader.info);
  const png_uint_32 height = png_get_image_height(reader.png, reader.info);
  check_size(kOp, name, height, width, options);
  constexpr const char* kDamaged = "{}: expected an intact PNG file, got a damaged one ({})";
  check(start_png_pixels(reader.png, reader.info), kOp, kDamaged, name, input.message);

  Image image{{static_cast<int>(height), static_cast<int>(width),
               png_get_channels(reader.png, reader.info)},
              {}};
  const std::size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  internal_check(row_bytes * height == image.shape.size(), kOp, "{} bytes in a row of {} pixels",
                 row_bytes, width);
  image.pixels.resize(image.shape.size());
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = image.pixels.data() + y * row_bytes;
  check(read_png_pixels(reader.png, rows.data()), kOp, kDamaged, name, input.message);
  convert_channels(image, options.channels);
  return image;
}

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options) {
  constexpr std::uint8_t kPng[] = {0x89, 'P', 'N', 'G'};
  constexpr std::uint8_t kJpeg[] = {0xFF, 0xD8, 0xFF};
  const auto starts_with = [&](std::span<const std::uint8_t> magic) {
    return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
  };
  if (starts_with(kJpeg)) return decode_jpeg(bytes, name, options);
  if (starts_with(kPng)) return decode_png(bytes, name, options);
  std::string found;
  for (std::size_t i = 0; i < std::min<std::size_t>(4, bytes.size()); ++i) {
    found += fmt::format("{}{:02x}", i == 0 ? "" : " ", bytes[i]);
  }
  fail(
      "decode_image", "{}: expected a JPEG (ff d8 ff) or PNG (89 50 4e 47) file, got {}", name,
      bytes.empty() ? "an empty file" : fmt::format("{} bytes that begin {}", bytes.size(), found));
}

Image read_image(const std::string& path, const DecodeOptions& options) {
  const std::string bytes = read_file(path);
  return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path,
                      options);
}

std::string encode_png(const Image& image) {
  constexpr std::string_view kOp = "encode_png";
  const auto [height, width, channels] = image.shape;
  check(height > 0 && width > 0 && (channels == 1 || channels == 3), kOp,
        "expected an image [H,W,1] or [H,W,3], got [{},{},{}]", height, width, channels);
  check(image.pixels.size() == image.shape.size(), kOp, "expected {} bytes of pixels, got {}",
        image.shape.size(), image.pixels.size());
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.height = static_cast<png_uint_32>(height);
  header.width = static_cast<png_uint_32>(width);
  header.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  const auto write = [&](void* out) {
    return png_image_write_to_memory(&header, out, &size, 0, image.pixels.data(), 0, nullptr) != 0;
  };
  bool written = write(nullptr);  // the size alone
  std::string bytes(size, '\0');
  written = written && write(bytes.data());
  png_image_free(&header);
  internal_check(written, kOp, "libpng refused to write: {}", header.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace invar
