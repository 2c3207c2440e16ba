#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <invar/data/npy.hpp>
#include <invar/ops/convert.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace invar {
namespace {

static_assert(std::endian::native == std::endian::little, "bytes are copied as they are");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kLargestNpyHeader = 1 << 16;  // a shape of kMaxDims numbers needs far less

struct Descr {
  std::string_view text;
  DType dtype;
};
constexpr Descr kDescrs[] = {{"<f4", DType::f32}, {"<f8", DType::f64}, {"<i8", DType::i64},
                             {"<i4", DType::i32}, {"|u1", DType::u8},  {"|b1", DType::boolean}};

struct Header {
  std::string descr;
  bool fortran_order = false;
  Dims shape;
};

/// Reads the header, a Python dictionary of which only this form exists:
/// {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, keys in any order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : rest_(text), path_(path) {}

  Header parse() {
    Header header;
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      int index = 0;
      if (key == "descr") {
        header.descr = quoted();
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        index = 1;
      } else if (key == "shape") {
        header.shape = tuple();
        index = 2;
      } else {
        unexpected("descr, fortran_order or shape");
      }
      if (seen[index]) unexpected("each key once");
      seen[index] = true;
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_spaces();
    if (!rest_.empty()) unexpected("the end of the header");
    if (!(seen[0] && seen[1] && seen[2])) unexpected("descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void unexpected(std::string_view expected) const {
    fail("npy", "expected {} in the header of '{}', got '{}'", expected, path_,
         rest_.substr(0, 30));
  }

  void skip_spaces() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size()));
  }

  bool accept(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) unexpected(fmt::format("'{}'", c));
  }

  std::string quoted() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) unexpected("a closing quote");
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }

  bool boolean() {
    skip_spaces();
    for (const std::string_view word : {"False", "True"}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return word == "True";
      }
    }
    unexpected("True or False");
  }

  std::int64_t number() {
    skip_spaces();
    std::int64_t value = 0;
    const std::size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    if (digits == 0 || digits > 18) unexpected("a size of 1 to 18 digits");
    for (const char digit : rest_.substr(0, digits)) value = value * 10 + (digit - '0');
    rest_.remove_prefix(digits);
    return value;
  }

  Dims tuple() {
    Dims shape;
    expect('(');
    while (!accept(')')) {
      if (shape.size() == kMaxDims) unexpected(fmt::format("at most {} dimensions", kMaxDims));
      shape.push_back(number());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view rest_;
  const std::string& path_;
};

}  // namespace

Tensor read_npy(const std::filesystem::path& path) {
  const FileReader file(path);
  const std::string name = path.string();
  std::array<char, 12> start{};
  file.read(0, start.data(), std::min<std::uint64_t>(file.size(), start.size()));
  check(file.size() >= 10 && std::string_view(start.data(), 6) == kMagic, "npy",
        "expected '{}' to begin with \\x93NUMPY, got another file of {} bytes", name, file.size());
  const int version = static_cast<unsigned char>(start[6]);
  check(version >= 1 && version <= 3, "npy", "expected version 1, 2 or 3 of '{}', got {}", name,
        version);
  const std::uint64_t length_bytes = version == 1 ? 2 : 4;
  std::uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, start.data() + 8, length_bytes);
  const std::uint64_t header_start = 8 + length_bytes;
  check(header_bytes <= kLargestNpyHeader, "npy",
        "expected a header of at most {} bytes in '{}', got {}", kLargestNpyHeader, name,
        header_bytes);
  check(header_start + header_bytes <= file.size(), "npy",
        "expected a header of {} bytes in '{}', got a file of {} bytes: it is cut", header_bytes,
        name, file.size());
  std::string text(header_bytes, '\0');
  file.read(header_start, text.data(), text.size());
  const Header header = HeaderParser(text, name).parse();

  const auto descr = std::find_if(std::begin(kDescrs), std::end(kDescrs),
                                  [&](const Descr& d) { return d.text == header.descr; });
  check(
      descr != std::end(kDescrs), "npy",
      "expected <f4, <f8, <i8, <i4, |u1 or |b1 as type of '{}', got {}: convert it in Python with "
      "array.astype(...)",
      name, header.descr);
  check(!header.fortran_order, "npy",
        "expected row-major order in '{}', got Fortran order: convert it in Python with "
        "numpy.ascontiguousarray(array)",
        name);
  const std::uint64_t data_start = header_start + header_bytes;
  const std::uint64_t data_bytes = file.size() - data_start;
  const std::optional<std::int64_t> numel = try_numel_of(header.shape);
  check(numel && static_cast<std::uint64_t>(*numel) * size_of(descr->dtype) == data_bytes, "npy",
        "expected '{}' to have the elements of {} {}, got {} bytes", name, descr->text,
        header.shape, data_bytes);

  Tensor tensor = empty(header.shape, {.dtype = descr->dtype});
  file.read(data_start, tensor.raw_data(), data_bytes);
  if (tensor.dtype() == DType::boolean) {
    const auto* bytes = static_cast<const std::uint8_t*>(tensor.raw_data());
    check(std::all_of(bytes, bytes + data_bytes, [](std::uint8_t b) { return b <= 1; }), "npy",
          "expected 0 and 1 as truth values in '{}', got another value", name);
  }
  return tensor;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const Tensor dense = contiguous(to(tensor.detach(), kCpu));
  const auto descr = std::find_if(std::begin(kDescrs), std::end(kDescrs),
                                  [&](const Descr& d) { return d.dtype == dense.dtype(); });
  check(descr != std::end(kDescrs), "npy",
        "expected a dtype that NumPy has, got {}: convert it with to(x, DType::f32)",
        dense.dtype());
  std::string shape;
  for (std::int64_t size : dense.shape()) shape += fmt::format("{}, ", size);
  if (dense.dim() > 0) shape.pop_back();  // "2, 3, " -> "2, 3,"
  if (dense.dim() > 1) shape.pop_back();  // only a tuple of one keeps its comma
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr->text, shape);
  constexpr std::size_t kBefore = 10;  // magic, version, length
  header.resize((kBefore + header.size() + 1 + 63) / 64 * 64 - kBefore - 1, ' ');
  header += '\n';
  const auto header_bytes = static_cast<std::uint16_t>(header.size());

  write_file_atomically(path, [&](FileWriter& writer) {
    writer.write(kMagic);
    writer.write(std::string_view("\1\0", 2));
    writer.write(&header_bytes, sizeof header_bytes);
    writer.write(header);
    writer.write(dense.raw_data(),
                 static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype()));
  });
}

}  // namespace invar
