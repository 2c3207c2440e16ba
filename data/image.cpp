#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <invar/data/image.hpp>
#include <string_view>

// These want <cstdio> before them.
#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

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
//
// libjpeg and libpng report errors by longjmp. A jump over a live C++ object is undefined, so
// setjmp stands only in the small functions named below, whose locals (and whose callees') are
// trivial; everything that owns memory lives in their caller.

/// libjpeg's error manager, which its calls back hand over as a pointer to the first member.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_jpeg_error(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  jpeg->err->format_message(jpeg, errors->message);
  std::longjmp(errors->jump, 1);
}

/// A warning means that pixels are made up from here on: an error, with two exceptions. A newer
/// JFIF version says nothing about pixels. And between the segments of the header some cameras
/// write stray bytes, which cost nothing; after the first scan has begun, they are what is left of
/// it when the decoder has lost its place.
void on_jpeg_warning(j_common_ptr jpeg, int level) {
  if (level >= 0) return;  // not a warning
  const int code = jpeg->err->msg_code;
  const bool in_header = reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number == 0;
  if (code == JWRN_JFIF_MAJOR || (code == JWRN_EXTRANEOUS_DATA && in_header)) return;
  on_jpeg_error(jpeg);
}

/// A progressive file of a thousand empty scans keeps the decoder busy for minutes.
void limit_jpeg_scans(j_common_ptr jpeg) {
  constexpr int kMostScans = 500;
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMostScans) return;
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  std::snprintf(errors->message, sizeof errors->message, "more than %d scans", kMostScans);
  std::longjmp(errors->jump, 1);
}

/// One per image: what stays in a decoder that is used again, tables above all, would stand in for
/// what the next file lacks.
struct JpegReader {
  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  jpeg_progress_mgr progress{};

  JpegReader() {
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_jpeg_error;
    errors.base.emit_message = on_jpeg_warning;
    progress.progress_monitor = limit_jpeg_scans;
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
};

bool read_jpeg_header(JpegReader& reader, const std::uint8_t* data, std::size_t size) {
  if (setjmp(reader.errors.jump)) return false;
  jpeg_create_decompress(&reader.jpeg);
  reader.jpeg.progress = &reader.progress;
  jpeg_mem_src(&reader.jpeg, data, size);
  jpeg_read_header(&reader.jpeg, TRUE);
  return true;
}

/// After the header was accepted: `pixels` has room for rows of `row_bytes`.
bool read_jpeg_pixels(JpegReader& reader, std::uint8_t* pixels, std::size_t row_bytes) {
  if (setjmp(reader.errors.jump)) return false;
  jpeg_start_decompress(&reader.jpeg);
  while (reader.jpeg.output_scanline < reader.jpeg.output_height) {
    JSAMPROW row = pixels + reader.jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&reader.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&reader.jpeg);
  return true;
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

void check_shape(std::string_view op, const ImageShape& shape) {
  check((shape.channels == 1 || shape.channels == 3) && shape.height > 0 && shape.width > 0, op,
        "expected an image [H,W,1] or [H,W,3], got [{},{},{}]", shape.height, shape.width,
        shape.channels);
}

void check_image(std::string_view op, const Image& image) {
  const ImageShape& shape = image.shape;
  check_shape(op, shape);
  check(image.pixels.size() == shape.size(), op,
        "expected {} bytes for an image [{},{},{}], got {}", shape.size(), shape.height,
        shape.width, shape.channels, image.pixels.size());
}

Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                  const DecodeOptions& options) {
  constexpr std::string_view kOp = "decode_jpeg";
  JpegReader reader;
  check(read_jpeg_header(reader, bytes.data(), bytes.size()), kOp,
        "{}: expected a JPEG file, got {} bytes that are not one ({})", name, bytes.size(),
        reader.errors.message);
  jpeg_decompress_struct& jpeg = reader.jpeg;
  check_size(kOp, name, jpeg.image_height, jpeg.image_width, options);

  const J_COLOR_SPACE space = jpeg.jpeg_color_space;
  const bool inks = space == JCS_CMYK || space == JCS_YCCK;
  const bool grey = space == JCS_GRAYSCALE || (options.channels == 1 && space == JCS_YCbCr);
  jpeg.out_color_space = inks ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
  Image image{{static_cast<int>(jpeg.image_height), static_cast<int>(jpeg.image_width),
               inks   ? 4
               : grey ? 1
                      : 3},
              {}};
  image.pixels.resize(image.shape.size());
  check(read_jpeg_pixels(reader, image.pixels.data(),
                         image.pixels.size() / static_cast<std::size_t>(image.shape.height)),
        kOp, "{}: expected an intact JPEG file, got a damaged one ({})", name,
        reader.errors.message);
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
  // Comments, which compress a thousandfold, are not unpacked: 1 is libpng's word for none.
  png_set_chunk_cache_max(reader.png, 1);

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
  const FileReader file(path);
  // Eight bytes for each pixel (PNG, RGBA of 16 bits), and what a camera may write beside them.
  const auto most = 8 * static_cast<std::uint64_t>(options.max_pixels) + (std::uint64_t{64} << 20);
  check(
      file.size() <= most, "read_image",
      "{}: expected at most {} bytes for an image of {} pixels, got {}: raise max_pixels if it is "
      "one",
      path, most, options.max_pixels, file.size());
  std::string bytes(file.size(), '\0');
  file.read(0, bytes.data(), bytes.size());
  return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path,
                      options);
}

std::string encode_png(const Image& image) {
  constexpr std::string_view kOp = "encode_png";
  check_image(kOp, image);
  const auto [height, width, channels] = image.shape;
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
