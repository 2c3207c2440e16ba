#include <filesystem>
#include <fstream>
#include <invar/core/file.hpp>
#include <invar/data/dataset.hpp>

namespace invar {
namespace {

constexpr ImageShape kShape{32, 32, 3};
constexpr std::size_t kPlane = 32 * 32;

/// The files of one data set: each holds `records` records of `label_bytes` labels (the last one
/// counts), then the red, the green and the blue plane.
struct CifarLayout {
  std::string set;
  std::string folder;  // inside the root, if the archive was unpacked there
  std::vector<std::string> files;
  std::size_t records;
  std::size_t label_bytes;
  std::string archive;
};

DatasetPtr load_cifar(const CifarLayout& layout, const std::string& root,
                      std::vector<std::string> classes, const std::filesystem::path& folder) {
  const std::size_t record = layout.label_bytes + kShape.size();
  const std::size_t expected = layout.records * record;
  std::vector<std::uint8_t> pixels(layout.files.size() * layout.records * kShape.size());
  std::vector<std::int64_t> labels;
  std::uint8_t* out = pixels.data();
  for (const std::string& name : layout.files) {
    const std::string path = (folder / name).string();
    std::error_code ignored;  // what cannot be looked at is not there
    check(std::filesystem::exists(path, ignored), layout.set,
          "expected {} in {} or in {}/{}: unpack {} there", name, root, root, layout.folder,
          layout.archive);
    const FileReader file(path);
    check(file.size() == expected, layout.set,
          "{}: expected {} bytes ({} records of {}), got {}: unpack {} again", path, expected,
          layout.records, record, file.size(), layout.archive);
    std::string bytes(expected, '\0');
    file.read(0, bytes.data(), bytes.size());
    for (std::size_t i = 0; i < layout.records; ++i) {
      const auto* from = reinterpret_cast<const std::uint8_t*>(bytes.data()) + i * record;
      const std::uint8_t label = from[layout.label_bytes - 1];
      check(label < classes.size(), layout.set, "{}: expected labels below {}, record {} has {}",
            path, classes.size(), i, label);
      labels.push_back(label);
      from += layout.label_bytes;
      for (std::size_t p = 0; p < kPlane; ++p) {
        for (std::size_t c = 0; c < 3; ++c) *out++ = from[c * kPlane + p];
      }
    }
  }
  return std::make_shared<MemoryDataset>(kShape, std::move(pixels), std::move(labels),
                                         std::move(classes));
}

std::filesystem::path data_folder(const CifarLayout& layout, const std::string& root) {
  const auto inner = std::filesystem::path(root) / layout.folder;
  std::error_code ignored;
  return std::filesystem::is_directory(inner, ignored) ? inner : std::filesystem::path(root);
}

/// The first `count` lines of the archive's list of names, or numbers where it is missing.
std::vector<std::string> read_names(const std::filesystem::path& path, int count) {
  std::vector<std::string> names;
  std::ifstream file(path);
  for (int i = 0; i < count; ++i) {
    std::string line;
    names.push_back(std::getline(file, line) && !line.empty() ? line : std::to_string(i));
  }
  return names;
}

}  // namespace

DatasetPtr load_cifar10(Split split, const std::string& root) {
  CifarLayout layout{"cifar10", "cifar-10-batches-bin",  {"test_batch.bin"}, 10'000,
                     1,         "cifar-10-binary.tar.gz"};
  if (split == Split::train) {
    layout.files.clear();
    for (int i = 1; i <= 5; ++i) layout.files.push_back(fmt::format("data_batch_{}.bin", i));
  }
  return load_cifar(
      layout, root,
      {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
      data_folder(layout, root));
}

DatasetPtr load_cifar100(Split split, const std::string& root) {
  const bool train = split == Split::train;
  const CifarLayout layout{"cifar100",
                           "cifar-100-binary",
                           {train ? "train.bin" : "test.bin"},
                           train ? 50'000u : 10'000u,
                           2,
                           "cifar-100-binary.tar.gz"};
  const auto folder = data_folder(layout, root);
  return load_cifar(layout, root, read_names(folder / "fine_label_names.txt", 100), folder);
}

}  // namespace invar
