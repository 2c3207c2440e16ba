// Safetensors: what Python wrote is read, what is written is what Python has been seen to read, and
// no damaged file does more than give an Error.
#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <invar/core/philox.hpp>
#include <invar/nn/safetensors.hpp>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../tensor_file.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using test::make;
using test::ScratchFile;
namespace fs = std::filesystem;

namespace {

const fs::path kData = "tests/nn/safetensors";  // tests run in the root of the source tree
const Metadata kMetadata = {{"made by", "Größe ✓"}, {"json", R"({"step": 7, "path": "a\\b"})"}};

/// The tensors of make_safetensors_golden.py but "f16".
StateDict golden_tensors() {
  const double inf = std::numeric_limits<double>::infinity();
  StateDict tensors;
  tensors["f64"] = make<double>({2, 3}, {0.1, -2.5, 1e300, 5e-324, inf, -0.0});
  Tensor f32 = empty({3, 2, 2});
  for (int i = 0; i < 12; ++i) f32.data<float>()[i] = static_cast<float>(i) / 8 - 0.5f;
  tensors["f32"] = f32;
  tensors["bf16"] = make<BFloat16>(
      {5}, {BFloat16(1.0f), BFloat16(-2.5f), BFloat16(3.140625f), BFloat16(inf), BFloat16(1e-38f)});
  tensors["i64"] = make<std::int64_t>(
      {3}, {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), 0});
  tensors["i32"] = make<std::int32_t>(
      {2, 1}, {std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()});
  tensors["u8"] = make<std::uint8_t>({3}, {0, 1, 255});
  tensors["bool"] = make<bool>({2, 2}, {true, false, false, true});
  tensors["scalar"] = make<float>({}, {-7.25f});
  tensors["empty"] = empty({3, 0, 2});
  tensors["name with \"quotes\" and ✓"] = make<float>({1}, {1.0f});
  return tensors;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw_data(), b.raw_data(),
                     static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

/// A file with this header and this many bytes of tensors.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header +
         std::string(data_bytes, '\1');
}

std::string message_of(const ScratchFile& file, const std::string& contents) {
  return test::message_of([](const fs::path& path) { read_safetensors(path); }, file, contents);
}

}  // namespace

TEST_CASE("A file of Python is read", "[smoke]") {
  const SafetensorsFile file(kData / "python.safetensors");
  CHECK(file.metadata() == kMetadata);
  const StateDict expected = golden_tensors();
  CHECK(file.names().size() == expected.size() + 1);
  for (const auto& [name, tensor] : expected) {
    CAPTURE(name);
    REQUIRE(file.contains(name));
    CHECK(same(file.read(name), tensor));
  }
  const Tensor half = file.read("f16");
  REQUIRE(half.dtype() == DType::f32);
  const float values[] = {1.0f,     -2.5f,    65504.0f,
                          0x1p-24f, 0x1p-14f, std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 6; ++i) CHECK(half.data<float>()[i] == values[i]);
  CHECK(std::isnan(half.data<float>()[6]));

  CHECK_FALSE(file.contains("f8"));
  CHECK_THROWS_WITH(
      file.read("f8"),
      ContainsSubstring("expected a tensor 'f8' in 'tests/nn/safetensors/python.safetensors'"));
}

TEST_CASE("What is written is, byte for byte, what Python has read") {
  // make_safetensors_golden.py check has read the file on the right.
  const ScratchFile scratch;
  write_safetensors(scratch, golden_tensors(), kMetadata);
  CHECK(read_file(scratch) == read_file(kData / "invar.safetensors"));
}

TEST_CASE("Tensors come back, views included") {
  const ScratchFile scratch;
  StateDict tensors = golden_tensors();
  const Tensor& f32 = tensors["f32"];  // [3, 2, 2]
  tensors["transposed"] = alias(f32, {2, 3}, {2, 4}, 1);
  tensors["parameter"] = make<float>({2}, {3, 4});
  tensors["parameter"].requires_grad_();
  write_safetensors(scratch, tensors);

  const SafetensorsFile file(scratch);
  CHECK(file.metadata().empty());
  for (const auto& [name, tensor] : read_safetensors(scratch)) {
    CAPTURE(name);
    if (name == "transposed") {
      CHECK(same(tensor, make<float>({2, 3}, {-0.375f, 0.125f, 0.625f, -0.125f, 0.375f, 0.875f})));
    } else {
      CHECK(same(tensor, tensors[name]));
    }
    CHECK_FALSE(tensor.requires_grad());
    tensors.erase(name);
  }
  CHECK(tensors.empty());

  write_safetensors(scratch, {});
  CHECK(read_safetensors(scratch).empty());
}

TEST_CASE("Names that cannot be stored are errors and leave the old file") {
  const ScratchFile scratch;
  write_safetensors(scratch, golden_tensors());
  const std::string before = read_file(scratch);
  const Tensor one = make<float>({1}, {1});
  CHECK_THROWS_WITH(write_safetensors(scratch, {{"\xff", one}}), ContainsSubstring("UTF-8"));
  CHECK_THROWS_WITH(write_safetensors(scratch, {{"a", one}}, {{"key", "\xff"}}),
                    ContainsSubstring("UTF-8"));
  CHECK_THROWS_WITH(write_safetensors(scratch, {{"__metadata__", one}}),
                    ContainsSubstring("another name"));
  CHECK_THROWS_WITH(write_safetensors(scratch, {{"a", Tensor()}}), ContainsSubstring("'a'"));
  CHECK(read_file(scratch) == before);
}

TEST_CASE("Each rule of the format has its error") {
  struct Case {
    const char* header;
    std::size_t data_bytes;
    const char* message;
  };
  const std::string deep(100000, '[');
  const Case cases[] = {
      {"", 0, "JSON header"},
      {"{", 0, "JSON header"},
      {"[]", 0, "JSON object, got: array"},
      {"{}x", 0, "JSON header"},
      {"{}", 1, "something was appended"},
      {deep.c_str(), 0, "three levels"},
      {R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, "three levels"},
      {R"({"a":1})", 0, "tensor 'a' of"},
      {R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "a dtype for tensor 'a' of"},
      {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", 1, "got 7"},
      {R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1, "got \"F8_E4M3\""},
      {R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "array 'shape'"},
      {R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", 1, "array 'shape'"},
      {R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, "got 1.0"},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "got -1"},
      {R"({"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}})", 1, "63 bits"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "dimensions"},
      {R"({"a":{"dtype":"U8","shape":[1]}})", 1, "array 'data_offsets'"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "[begin, end]"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, "[begin, end]"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, "[begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "bytes of F32 [2]"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,0]}})", 0, "bytes of F32 []"},
      // 2^62 * 4 elements of 4 bytes: 0 if it wrapped around.
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
       "bytes of F32"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}})", 0,
       "bytes of F32"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1, "it is cut"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "begin at byte 0"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "tensor 'b'"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "'a' twice"},
      {R"({"__metadata__":[]})", 0, "__metadata__"},
      {R"({"__metadata__":{"key":1}})", 0, "text as 'key'"},
  };
  const ScratchFile file;
  for (const Case& c : cases) {
    CAPTURE(std::string(c.header).substr(0, 200));
    const std::string message = message_of(file, file_of(c.header, c.data_bytes));
    CHECK_THAT(message, ContainsSubstring(c.message));
    CHECK_THAT(message, ContainsSubstring(fs::path(file).string()));
  }
  CHECK_THAT(message_of(file, file_of(std::string("{}\0{", 4), 0)),
             ContainsSubstring("a NUL character"));
  CHECK_THAT(message_of(file, "1234567"), ContainsSubstring("at least 8 bytes"));
  CHECK_THAT(message_of(file, "12345678"), ContainsSubstring("is it a safetensors file?"));
  CHECK_THAT(message_of(file, std::string("\5\0\0\0\0\0\0\0{}", 10)),
             ContainsSubstring("it is cut"));
  CHECK_THAT(
      message_of(file,
                 file_of(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 0) + '\2'),
      ContainsSubstring("expected 0 and 1 in the BOOL tensor 'a'"));
  // Not an error: zero-size tensors anywhere, spaces after the header.
  CHECK(message_of(file, file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                 R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},)"
                                 R"("c":{"dtype":"U8","shape":[5,0],"data_offsets":[0,0]}}   )",
                                 2)) == "");
}

TEST_CASE("A file cut anywhere is an error") {
  const ScratchFile file;
  const std::string whole = read_file(kData / "python.safetensors");
  CHECK(message_of(file, whole) == "");
  std::size_t errors = 0;
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    errors += message_of(file, whole.substr(0, bytes)) != "";
  }
  CHECK(errors == whole.size());
}

TEST_CASE("A file with flipped bytes is read or is an error, nothing worse") {
  const ScratchFile file;
  const std::string whole = read_file(kData / "python.safetensors");
  Philox random(1, 1);
  int errors = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string damaged = whole;
    // Most of the flips in length and header, where they matter.
    const auto length = static_cast<std::uint32_t>(i % 4 == 0 ? whole.size() : whole.size() - 160);
    for (std::uint32_t k = random.below(3) + 1; k > 0; --k) {
      const std::uint32_t at = i % 16 == 1 ? random.below(8) : random.below(length);
      // A random byte, or one that JSON gives a meaning.
      damaged[at] = i % 2 == 0 ? static_cast<char>(random.next_u32())
                               : "0123456789[]{}\",:- "[random.below(19)];
    }
    errors += message_of(file, damaged) != "";
  }
  CHECK(errors > 3000);
}
