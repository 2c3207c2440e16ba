#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <invar/core/file.hpp>
#include <invar/data/dataset.hpp>
#include <memory>
#include <string_view>

namespace invar {
namespace {

// No array of a data set that fits this library's memory is larger; it also keeps products of
// dimensions from overflowing.
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 36;

/// A file that zlib unpacks if it is gzipped and passes through if not.
class GzipFile {
 public:
  explicit GzipFile(const std::string& path) : path_(path) {
    // An Error if it is not a file that can be read: zlib waits for pipes.
    const FileReader readable(path);
    file_.reset(gzopen(path.c_str(), "rb"));
    check(file_ != nullptr, "read_idx", "{}: expected a readable file", path);
    gzbuffer(file_.get(), 1 << 17);
  }

  /// Up to `size` bytes; fewer only at the end of the file.
  std::size_t read(std::uint8_t* out, std::size_t size) {
    std::size_t done = 0;
    while (done < size) {
      const auto part = static_cast<unsigned>(std::min<std::size_t>(size - done, 1 << 24));
      const int got = gzread(file_.get(), out + done, part);
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    // A stream cut short or failing its checksum shows here, not in the count.
    int code = Z_OK;
    const std::string_view problem = gzerror(file_.get(), &code);  // "path: reason"
    check(code == Z_OK || code == Z_STREAM_END, "read_idx",
          "{}: expected an intact gzip file, got a damaged one ({})", path_,
          problem.substr(std::min(problem.size(), path_.size() + 2)));
    return done;
  }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };
  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

std::size_t element_size(IdxType type) {
  switch (type) {
    case IdxType::u8:
    case IdxType::i8:
      return 1;
    case IdxType::i16:
      return 2;
    case IdxType::i32:
    case IdxType::f32:
      return 4;
    case IdxType::f64:
      return 8;
  }
  return 0;
}

std::string join(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

std::string find_file(const std::string& root, const std::string& file, const std::string& set,
                      const std::string& hint) {
  std::error_code ignored;  // what cannot be looked at is not there
  for (const char* ending : {"", ".gz"}) {
    const auto path = std::filesystem::path(root) / (file + ending);
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  const bool folder = std::filesystem::is_directory(root, ignored);
  fail(set, "expected {} or {}.gz in {}, {}: {}", file, file, root,
       folder ? "found neither" : "which is not a folder", hint);
}

DatasetPtr load_mnist_files(Split split, const std::string& root, std::vector<std::string> classes,
                            const std::string& set, const std::string& hint) {
  const std::string prefix = split == Split::train ? "train" : "t10k";
  const std::string images = find_file(root, prefix + "-images-idx3-ubyte", set, hint);
  const std::string labels = find_file(root, prefix + "-labels-idx1-ubyte", set, hint);
  return load_idx(images, labels, std::move(classes));
}

}  // namespace

IdxArray read_idx(const std::string& path) {
  constexpr std::string_view kOp = "read_idx";
  GzipFile file(path);
  std::uint8_t magic[4];
  const std::size_t got = file.read(magic, 4);
  check(got == 4, kOp, "{}: expected an IDX header of at least 4 bytes, got {}", path, got);
  IdxArray array{static_cast<IdxType>(magic[2]), {}, {}};
  const std::size_t item = element_size(array.type);
  check(magic[0] == 0 && magic[1] == 0 && item != 0 && magic[3] >= 1, kOp,
        "{}: expected the magic number 00 00 TYPE DIMENSIONS with TYPE 08, 09, "
        "0b, 0c, 0d or 0e, got "
        "{:02x} {:02x} {:02x} {:02x}",
        path, magic[0], magic[1], magic[2], magic[3]);

  auto bytes = static_cast<std::int64_t>(item);
  bool empty = false;
  for (int d = 0; d < magic[3]; ++d) {
    std::uint8_t word[4];
    check(file.read(word, 4) == 4, kOp, "{}: expected {} dimensions, the file ends after {}", path,
          magic[3], d);
    const std::int64_t size = std::int64_t{word[0]} << 24 | word[1] << 16 | word[2] << 8 | word[3];
    array.shape.push_back(size);
    empty = empty || size == 0;
    const std::int64_t factor = std::max<std::int64_t>(size, 1);
    check(factor <= kMaxBytes / bytes, kOp, "{}: expected at most {} bytes, the header declares {}",
          path, kMaxBytes, join(array.shape));
    bytes *= factor;
  }
  if (empty) bytes = 0;

  // Grow with what is really there: the header may lie.
  constexpr std::size_t kStep = std::size_t{1} << 24;
  const auto expected = static_cast<std::size_t>(bytes);
  while (array.bytes.size() < expected) {
    const std::size_t have = array.bytes.size();
    const std::size_t want = std::min(expected - have, std::max(kStep, have));
    array.bytes.resize(have + want);
    const std::size_t read = file.read(array.bytes.data() + have, want);
    check(read == want, kOp, "{}: expected {} bytes of data for shape {}, the file ends after {}",
          path, expected, join(array.shape), have + read);
  }
  std::uint8_t extra = 0;
  check(file.read(&extra, 1) == 0, kOp,
        "{}: expected {} bytes of data for shape {}, the file holds more", path, expected,
        join(array.shape));

  if (std::endian::native == std::endian::little && item > 1) {
    for (std::size_t i = 0; i < expected; i += item) {
      std::reverse(array.bytes.data() + i, array.bytes.data() + i + item);
    }
  }
  return array;
}

DatasetPtr load_idx(const std::string& images, const std::string& labels,
                    std::vector<std::string> classes) {
  constexpr std::string_view kOp = "load_idx";
  IdxArray pixels = read_idx(images);
  const IdxArray numbers = read_idx(labels);
  const std::size_t dim = pixels.shape.size();
  check(pixels.type == IdxType::u8 && (dim == 3 || dim == 4), kOp,
        "{}: expected u8 images [N,H,W] or [N,H,W,C], got type {:02x}, shape {}", images,
        static_cast<int>(pixels.type), join(pixels.shape));
  check(numbers.type == IdxType::u8 && numbers.shape.size() == 1, kOp,
        "{}: expected u8 labels [N], got type {:02x}, shape {}", labels,
        static_cast<int>(numbers.type), join(numbers.shape));
  check(pixels.shape[0] == numbers.shape[0], kOp,
        "expected as many labels as images, got {} in {} and {} in {}", numbers.shape[0], labels,
        pixels.shape[0], images);
  const auto side = [&](std::size_t d) {
    check(pixels.shape[d] < 1 << 20, kOp, "{}: expected sides below 2^20, got shape {}", images,
          join(pixels.shape));
    return static_cast<int>(pixels.shape[d]);
  };
  const ImageShape shape{side(1), side(2), dim == 4 ? side(3) : 1};

  if (classes.empty()) {
    const auto last = std::max_element(numbers.bytes.begin(), numbers.bytes.end());
    const int count = last == numbers.bytes.end() ? 1 : *last + 1;
    for (int c = 0; c < count; ++c) classes.push_back(std::to_string(c));
  }
  for (std::size_t i = 0; i < numbers.bytes.size(); ++i) {
    check(numbers.bytes[i] < classes.size(), kOp, "{}: expected labels below {}, label {} is {}",
          labels, classes.size(), i, numbers.bytes[i]);
  }
  return std::make_shared<MemoryDataset>(
      shape, std::move(pixels.bytes),
      std::vector<std::int64_t>(numbers.bytes.begin(), numbers.bytes.end()), std::move(classes));
}

DatasetPtr load_fashion_mnist(Split split, const std::string& root) {
  return load_mnist_files(split, root,
                          {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                           "Sneaker", "Bag", "Ankle boot"},
                          "fashion_mnist",
                          "install the Debian or Ubuntu package dataset-fashion-mnist, or name the "
                          "folder that holds the "
                          "files as \"root\"");
}

DatasetPtr load_mnist(Split split, const std::string& root) {
  return load_mnist_files(split, root, {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, "mnist",
                          "name the folder that holds the four IDX files as \"root\"");
}

}  // namespace invar
