#include <sys/resource.h>
#include <zlib.h>

#include <algorithm>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstdlib>
#include <invar/data/image.hpp>
#include <nlohmann/json.hpp>
#include <random>

#include "support.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

Bytes golden_file(const std::string& name) {
  for (const Json& file : Golden::get().json().at("files")) {
    if (file.at("name") == name) return Golden::get().bytes(file.at("bytes"));
  }
  FAIL("no golden file " << name);
  return {};
}

int largest_difference(const Bytes& a, const Bytes& b) {
  int largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

/// Decodes; true iff an image came out and not an Error. Anything else escapes and fails the test.
bool decodes(const Bytes& bytes) {
  try {
    const Image image = decode_image(bytes, "fuzz", {.channels = 3, .max_pixels = 1 << 16});
    REQUIRE(image.pixels.size() == image.shape.size());
    REQUIRE(image.shape.size() > 0);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("JPEG and PNG files of every kind decode to Pillow's pixels", "[unit][golden]") {
  for (const Json& file : Golden::get().json().at("files")) {
    CAPTURE(file.at("name"));
    const Image expected = Golden::get().image(file.at("pixels"));
    const Image image = decode_image(Golden::get().bytes(file.at("bytes")), "golden");
    REQUIRE(image.shape == expected.shape);
    CHECK(largest_difference(image.pixels, expected.pixels) <= file.at("levels").get<int>());
  }
}

TEST_CASE("Channels are converted on request", "[unit]") {
  for (const char* name : {"jpeg_420", "png_rgb", "png_palette", "jpeg_cmyk"}) {
    CAPTURE(name);
    const Bytes bytes = golden_file(name);
    const Image colour = decode_image(bytes, name);
    const Image grey = decode_image(bytes, name, {.channels = 1});
    REQUIRE(colour.shape.channels == 3);
    REQUIRE(grey.shape.channels == 1);
    double largest = 0, sum = 0;
    for (std::size_t i = 0; i < grey.pixels.size(); ++i) {
      const std::uint8_t* rgb = &colour.pixels[3 * i];
      const double expected = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
      largest = std::max(largest, std::abs(expected - grey.pixels[i]));
      sum += std::abs(expected - grey.pixels[i]);
    }
    // A JPEG's luminance is read as it stands; its colours are clamped first.
    const bool own_luminance = std::string(name) == "jpeg_420";
    CHECK(largest < (own_luminance ? 40.0 : 0.51));
    CHECK(sum / static_cast<double>(grey.pixels.size()) < 1.5);
  }
  const Image grey = decode_image(golden_file("png_grey"), "grey");
  const Image colour = decode_image(golden_file("png_grey"), "grey", {.channels = 3});
  REQUIRE(colour.shape.channels == 3);
  for (std::size_t i = 0; i < colour.pixels.size(); ++i) {
    REQUIRE(colour.pixels[i] == grey.pixels[i / 3]);
  }
  CHECK_THAT(error_of([] { decode_image(golden_file("png_rgb"), "x", {.channels = 2}); }),
             ContainsSubstring("0, 1 or 3, got 2"));
}

TEST_CASE("What is written as PNG reads back", "[unit][smoke]") {
  for (int channels : {1, 3}) {
    Image image{{5, 7, channels}, {}};
    for (std::size_t i = 0; i < image.shape.size(); ++i) {
      image.pixels.push_back(static_cast<std::uint8_t>(37 * i));
    }
    const TempFolder folder;
    write_file_atomically(folder / "x.png", encode_png(image));
    const Image back = read_image(folder / "x.png");
    CHECK(back.shape == image.shape);
    CHECK(back.pixels == image.pixels);
  }
  CHECK_THROWS_AS(encode_png(Image{{2, 2, 2}, Bytes(8)}), Error);
  CHECK_THROWS_AS(encode_png(Image{{2, 2, 3}, Bytes(11)}), Error);
}

TEST_CASE("Files that are no images are refused by name", "[unit]") {
  const TempFolder folder;
  CHECK_THAT(error_of([&] { read_image(folder.write("empty.png", {})); }),
             ContainsSubstring("empty.png") && ContainsSubstring("an empty file"));
  const Bytes text{'h', 'e', 'l', 'l', 'o'};
  CHECK_THAT(error_of([&] { read_image(folder.write("text.jpg", text)); }),
             ContainsSubstring("text.jpg") && ContainsSubstring("begin 68 65 6c 6c"));
  CHECK_THAT(error_of([&] { read_image(folder / "missing.jpg"); }),
             ContainsSubstring("missing.jpg"));
  CHECK_THROWS_AS(read_image(folder.path().string()), Error);
  // The content counts, not the name.
  CHECK(read_image(folder.write("png.jpg", golden_file("png_rgb"))).shape == ImageShape{9, 13, 3});
}

TEST_CASE("A declared size above the limit is refused before it is allocated", "[unit]") {
  Bytes jpeg = golden_file("jpeg_420");
  for (std::size_t i = 0; i + 8 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xFF && jpeg[i + 1] == 0xC0) {  // start of frame: height and width, big-endian
      for (std::size_t k : {5, 6, 7, 8}) jpeg[i + k] = 0xF0;
      break;
    }
  }
  CHECK_THAT(error_of([&] { decode_image(jpeg, "bomb.jpg"); }),
             ContainsSubstring("bomb.jpg") && ContainsSubstring("61680 x 61680"));

  Bytes png = golden_file("png_rgb");
  for (std::size_t k : {16, 20}) {  // IHDR: width and height, then a checksum over 17 bytes
    png[k + 1] = 0x04;
  }
  const auto crc = crc32(0, &png[12], 17);
  for (std::size_t k = 0; k < 4; ++k) png[29 + k] = static_cast<std::uint8_t>(crc >> (24 - 8 * k));
  CHECK_THAT(error_of([&] { decode_image(png, "bomb.png"); }),
             ContainsSubstring("bomb.png") && ContainsSubstring("max_pixels"));
  CHECK_THAT(error_of([] { decode_image(golden_file("png_rgb"), "x", {.max_pixels = 116}); }),
             ContainsSubstring("9 x 13"));
}

TEST_CASE("Comments in a PNG file are not unpacked", "[unit]") {
  // Thirty of 8 MB each, in 240 kB.
  constexpr std::size_t kComments = 30, kSize = (1 << 23) - 64;
  const Bytes letters(kSize, 'a');
  Bytes packed(compressBound(kSize));
  uLongf packed_size = packed.size();
  REQUIRE(compress2(packed.data(), &packed_size, letters.data(), kSize, 9) == Z_OK);
  Bytes text{'z', 'T', 'X', 't', 'C', 'o', 'm', 'm', 'e', 'n', 't', 0, 0};
  text.insert(text.end(), packed.begin(),
              packed.begin() + static_cast<std::ptrdiff_t>(packed_size));
  const auto big_endian = [](std::size_t value) {
    return Bytes{static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
                 static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
  };
  Bytes chunk = big_endian(text.size() - 4);
  chunk.insert(chunk.end(), text.begin(), text.end());
  for (std::uint8_t byte : big_endian(crc32(0, text.data(), static_cast<uInt>(text.size())))) {
    chunk.push_back(byte);
  }
  const std::string plain = encode_png({{1, 1, 1}, {7}});
  Bytes png(plain.begin(), plain.end());
  constexpr std::ptrdiff_t kAfterHeader = 33;
  for (std::size_t i = 0; i < kComments; ++i) {
    png.insert(png.begin() + kAfterHeader, chunk.begin(), chunk.end());
  }
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;  // KiB
  };
  const long before = peak();
  CHECK(decode_image(png, "comments").pixels == Bytes{7});
  CHECK(peak() - before < 64 << 10);
}

TEST_CASE("An image file that ends early is an error, wherever it ends", "[unit]") {
  for (const Json& file : Golden::get().json().at("files")) {
    const Bytes whole = Golden::get().bytes(file.at("bytes"));
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(file.at("name"), length);
      REQUIRE_FALSE(
          decodes(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))));
    }
    CHECK(decodes(whole));
  }
}

TEST_CASE("Damaged image files are decoded or refused, and nothing else", "[unit]") {
  std::mt19937 random(1);
  int refused = 0, tried = 0;
  for (const Json& file : Golden::get().json().at("files")) {
    const Bytes whole = Golden::get().bytes(file.at("bytes"));
    for (int trial = 0; trial < 150; ++trial, ++tried) {
      Bytes damaged = whole;
      for (unsigned n = 1 + random() % 4; n > 0; --n) {
        damaged[random() % damaged.size()] = static_cast<std::uint8_t>(random());
      }
      CAPTURE(file.at("name"), trial);
      refused += !decodes(damaged);
    }
  }
  CHECK(refused > tried / 4);  // PNG's checksums alone see to that
  CHECK(refused < tried);      // JPEG has none
}

TEST_CASE("What a JPEG file lacks does not come from the one before", "[unit]") {
  // Without the segments of this kind, those of a JPEG's header.
  const auto without = [](const Bytes& file, std::uint8_t kind) {
    Bytes rest(file.begin(), file.begin() + 2);
    std::size_t at = 2;
    while (file[at + 1] != 0xDA) {
      const std::size_t end = at + 2 + 256u * file[at + 2] + file[at + 3];
      if (file[at + 1] != kind) rest.insert(rest.end(), &file[at], &file[end]);
      at = end;
    }
    rest.insert(rest.end(), file.begin() + static_cast<std::ptrdiff_t>(at), file.end());
    return rest;
  };
  constexpr std::uint8_t kQuantisation = 0xDB, kHuffman = 0xC4;
  const Bytes whole = golden_file("jpeg_420"), other = golden_file("jpeg_progressive");
  CHECK_FALSE(decodes(without(whole, kQuantisation)));
  CHECK(decodes(whole));
  CHECK_FALSE(decodes(without(whole, kQuantisation)));
  // Files without Huffman tables, as of cameras that film, are given the standard's.
  const Image expected = decode_image(without(whole, kHuffman), "film");
  CHECK(decodes(other));
  CHECK(decode_image(without(whole, kHuffman), "film").pixels == expected.pixels);
}

TEST_CASE("Stray bytes before a segment of a JPEG's header cost nothing, after it they do",
          "[unit]") {
  // Where segments begin, from the second (by its first a file is known) to the first scan.
  const auto segments = [](const Bytes& file) {
    std::vector<std::size_t> begins;
    for (std::size_t at = 2; file[at + 1] != 0xDA;) {
      at += 2 + 256u * file[at + 2] + file[at + 3];
      begins.push_back(at);
    }
    return begins;
  };
  const auto with_stray = [](Bytes file, std::size_t at, std::size_t count) {
    file.insert(file.begin() + static_cast<std::ptrdiff_t>(at), count, 0x00);
    return file;
  };
  for (const char* name : {"jpeg_420", "jpeg_progressive", "jpeg_cmyk"}) {
    const Bytes whole = golden_file(name);
    const Image expected = decode_image(whole, name);
    for (const std::size_t begin : segments(whole)) {
      for (const std::size_t count : {1, 8}) {
        CAPTURE(name, begin, count);
        const Bytes stray = with_stray(whole, begin, count);
        CHECK(decode_image(stray, name).pixels == expected.pixels);
        // They excuse nothing that comes later.
        for (std::size_t length = stray.size() - 1; length > begin + count; length -= 7) {
          REQUIRE_FALSE(
              decodes({stray.begin(), stray.begin() + static_cast<std::ptrdiff_t>(length)}));
          if (length < 7) break;
        }
      }
    }
    CHECK_FALSE(
        decodes(with_stray(whole, whole.size() - 2, 83)));  // what a scan that was lost leaves
  }
}
