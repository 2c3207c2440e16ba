// NumPy files: the same bytes as NumPy in both directions, and errors for everything else.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <filesystem>
#include <invar/core/file.hpp>
#include <invar/core/philox.hpp>
#include <invar/data/npy.hpp>
#include <limits>
#include <string>
#include <vector>

#include "../tensor_file.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using test::make;
using test::ScratchFile;
namespace fs = std::filesystem;

namespace {

const fs::path kData = "tests/data/npy";  // tests run in the root of the source tree

/// A version 1 file with this header.
std::string file_of(const std::string& header, const std::string& data) {
  std::string contents("\x93NUMPY\1\0", 8);
  contents += static_cast<char>(header.size() & 255);
  contents += static_cast<char>(header.size() >> 8);
  return contents + header + data;
}

std::string message_of(const ScratchFile& file, const std::string& contents) {
  return test::message_of([](const fs::path& path) { read_npy(path); }, file, contents);
}

}  // namespace

TEST_CASE("NumPy's files are read, and written with the same bytes") {
  struct Case {
    const char* name;
    Tensor tensor;
  };
  const double inf = std::numeric_limits<double>::infinity();
  const Case cases[] = {
      {"f32", make<float>({2, 3}, {-0.5f, -0.375f, -0.25f, -0.125f, 0.0f, 0.125f})},
      {"f64", make<double>({4}, {0.1, -0.0, inf, 5e-324})},
      {"i64", make<std::int64_t>({1, 2, 1}, {std::numeric_limits<std::int64_t>::min(),
                                             std::numeric_limits<std::int64_t>::max()})},
      {"i32", make<std::int32_t>({2}, {std::numeric_limits<std::int32_t>::min(),
                                       std::numeric_limits<std::int32_t>::max()})},
      {"u8", make<std::uint8_t>({3}, {0, 1, 255})},
      {"bool", make<bool>({1, 3}, {true, false, true})},
      {"scalar", make<float>({}, {-7.25f})},
      {"empty", make<float>({3, 0, 2}, {})},
  };
  const ScratchFile scratch;
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const fs::path golden = kData / (std::string(c.name) + ".npy");
    const Tensor found = read_npy(golden);
    REQUIRE(found.dtype() == c.tensor.dtype());
    REQUIRE(found.shape() == c.tensor.shape());
    CHECK(std::memcmp(found.raw_data(), c.tensor.raw_data(),
                      static_cast<std::size_t>(found.numel()) * size_of(found.dtype())) == 0);
    write_npy(scratch, c.tensor);
    CHECK(read_file(scratch) == read_file(golden));
  }
}

TEST_CASE("A view is written in row-major order") {
  const ScratchFile scratch;
  const Tensor x = make<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  write_npy(scratch, alias(x, {3, 2}, {1, 3}, 0));
  const Tensor transposed = read_npy(scratch);
  REQUIRE(transposed.shape() == Dims{3, 2});
  const std::int32_t expected[] = {1, 4, 2, 5, 3, 6};
  for (int i = 0; i < 6; ++i) CHECK(transposed.data<std::int32_t>()[i] == expected[i]);
  CHECK_THROWS_WITH(write_npy(scratch, empty({2}, {.dtype = DType::bf16})),
                    ContainsSubstring("got bf16: convert it"));
}

TEST_CASE("Headers: every legal spelling is read, everything else is an error") {
  struct Case {
    const char* header;
    const char* message;  // "" : legal
  };
  const Case cases[] = {
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }   \n", ""},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", ""},
      {"{\"shape\":(1,2),\"descr\":\"|u1\",\"fortran_order\":False}", ""},
      {"", "expected '{'"},
      {"{}", "descr, fortran_order and shape"},
      {"{'descr': '|u1', 'shape': (2,), }", "descr, fortran_order and shape"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'more': 1}",
       "descr, fortran_order"},
      {"{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "once"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), } x", "the end of the header"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,", "expected a size"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': 2}", "expected '('"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (-2,)}", "a size of 1 to 18 digits"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}", "dimensions"},
      {"{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}", "True or False"},
      {"{'descr': '|u1", "a closing quote"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "expected '\"'"},
      {"{'descr': '|u1', 'fortran_order': True, 'shape': (1,2), }", "numpy.ascontiguousarray"},
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "got >f4: convert it"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "got |O: convert it"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "got 2 bytes"},
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "got 2 bytes"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (576460752303423488, 32), }", "2 bytes"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (576460752303423488, 32, 0), }",
       "2 bytes"},
      {"{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", "0 and 1"},
  };
  const ScratchFile file;
  for (const Case& c : cases) {
    CAPTURE(c.header);
    const std::string message = message_of(file, file_of(c.header, "\1\2"));
    if (*c.message == '\0') {
      CHECK(message == "");
    } else {
      CHECK_THAT(message, ContainsSubstring(c.message));
      CHECK_THAT(message, ContainsSubstring(fs::path(file).string()));
    }
  }
  CHECK_THAT(message_of(file, "not NumPy at all"), ContainsSubstring("x93NUMPY"));
  CHECK_THAT(message_of(file, std::string("\x93NUMPY\4\0\0\0\0\0", 12)),
             ContainsSubstring("got 4"));
  const std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
  CHECK(message_of(file, std::string("\x93NUMPY\2\0\x39\0\0\0", 12) + header + "ab") == "");
}

TEST_CASE("A NumPy file cut anywhere is an error, with flipped bytes nothing worse") {
  const ScratchFile file;
  const std::string whole = read_file(kData / "f32.npy");
  std::size_t errors = 0;
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    errors += message_of(file, whole.substr(0, bytes)) != "";
  }
  CHECK(errors == whole.size());

  Philox random(2, 1);
  int damaged_errors = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string damaged = whole;
    for (std::uint32_t k = random.below(3) + 1; k > 0; --k) {
      damaged[random.below(75)] = i % 2 == 0 ? static_cast<char>(random.next_u32())
                                             : "0123456789(){}',: <|f"[random.below(21)];
    }
    damaged_errors += message_of(file, damaged) != "";
  }
  CHECK(damaged_errors > 4000);
}
