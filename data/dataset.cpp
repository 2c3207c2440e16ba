#include <filesystem>
#include <invar/core/file.hpp>
#include <invar/data/dataset.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace invar {
namespace {

void check_index(std::int64_t i, std::int64_t size) {
  check(i >= 0 && i < size, "Dataset::read", "expected an index in [0, {}), got {}", size, i);
}

void check_label(std::int64_t label, std::int64_t i, const std::vector<std::string>& classes) {
  const auto count = static_cast<std::int64_t>(classes.size());
  const bool known = classes.empty() ? label == -1 : label >= 0 && label < count;
  check(known, "Dataset", "expected {}, sample {} has label {}",
        classes.empty() ? std::string("label -1 where there are no classes")
                        : fmt::format("labels in [0, {})", count),
        i, label);
}

DatasetPtr make_idx(JsonReader& reader, Split split) {
  const char* half = split == Split::train ? "train" : "test";
  const char* other = split == Split::train ? "test" : "train";
  reader.get(other, Json::object());
  auto classes = reader.get("classes", std::vector<std::string>());
  JsonReader files(reader.require<Json>(half), fmt::format("dataset.{}", half));
  const auto images = files.require<std::string>("images");
  const auto labels = files.require<std::string>("labels");
  files.finish();
  return load_idx(images, labels, std::move(classes));
}

namespace fs = std::filesystem;

/// root/test, or root/val where that alone has folders of classes, or is alone; empty: neither.
fs::path test_folder(const fs::path& root) {
  std::error_code ignored;  // what cannot be looked at is not there
  fs::path found;
  for (const char* name : {"test", "val"}) {
    const fs::path inner = root / name;
    if (!fs::is_directory(inner, ignored)) continue;
    if (found.empty()) found = inner;
    for (const fs::path& path : paths_in(inner)) {
      if (fs::is_directory(path, ignored)) return inner;
    }
  }
  return found;
}

DatasetPtr make_image_folder(JsonReader& reader, Split split, const ProgressCallback& progress) {
  ImageFolderOptions options;
  options.progress = progress;
  const auto root = reader.require<std::string>("root");
  options.channels = reader.get("channels", options.channels);
  options.threads = reader.get("threads", options.threads);
  options.max_bytes = reader.get("max_bytes", options.max_bytes);
  fs::path train = fs::path(root) / "train";
  const fs::path test = test_folder(root);
  if (split == Split::test) {
    check(
        !test.empty(), "image_folder",
        "expected a folder of test images {0}/test or {0}/val, found neither: without one, ask for "
        "training images (embed --split train) or have some held out (evaluation.held_out)",
        root);
    return load_image_folder(test.string(), options);
  }
  std::error_code ignored;
  if (!fs::is_directory(train, ignored)) {
    // Test images would be trained on, as those of a class "test".
    check(test.empty(), "image_folder",
          "expected the training images of '{0}' in {0}/train, as there is {1}, found no such "
          "folder: move them there",
          root, test.string());
    train = root;
  }
  return load_image_folder(train.string(), options);
}

}  // namespace

MemoryDataset::MemoryDataset(ImageShape shape, std::vector<std::uint8_t> pixels,
                             std::vector<std::int64_t> labels, std::vector<std::string> classes)
    : shape_(shape),
      pixels_(std::move(pixels)),
      labels_(std::move(labels)),
      classes_(std::move(classes)) {
  check_shape("MemoryDataset", shape);
  check(pixels_.size() == labels_.size() * shape_.size(), "MemoryDataset",
        "expected {} images of {} bytes, got {} bytes", labels_.size(), shape_.size(),
        pixels_.size());
  for (std::int64_t i = 0; i < size(); ++i) {
    check_label(labels_[static_cast<std::size_t>(i)], i, classes_);
  }
}

void MemoryDataset::read(std::int64_t i, Sample& into) const {
  check_index(i, size());
  const auto begin = pixels_.begin() + i * static_cast<std::int64_t>(shape_.size());
  into.image.shape = shape_;
  into.image.pixels.assign(begin, begin + static_cast<std::int64_t>(shape_.size()));
  into.label = labels_[static_cast<std::size_t>(i)];
}

ImageListDataset::ImageListDataset(std::vector<Sample> samples, std::vector<std::string> classes)
    : samples_(std::move(samples)), classes_(std::move(classes)) {
  if (samples_.empty()) return;
  shape_ = samples_.front().image.shape;
  for (std::int64_t i = 0; i < size(); ++i) {
    const Sample& sample = samples_[static_cast<std::size_t>(i)];
    const ImageShape& shape = sample.image.shape;
    check_image(fmt::format("ImageListDataset: image {}", i), sample.image);
    check(shape.channels == shape_.channels, "ImageListDataset",
          "expected {} channels as in image 0, image {} has {}", shape_.channels, i,
          shape.channels);
    if (shape != shape_) shape_.height = shape_.width = 0;
    check_label(sample.label, i, classes_);
  }
}

void ImageListDataset::read(std::int64_t i, Sample& into) const {
  check_index(i, size());
  into = samples_[static_cast<std::size_t>(i)];  // vector's assignment reuses the buffer
}

DatasetPtr make_dataset(const Json& config, Split split, const ProgressCallback& progress) {
  JsonReader reader(config, "dataset");
  const auto name = reader.require<std::string>("name");
  DatasetPtr dataset;
  if (name == "fashion_mnist") {
    dataset = load_fashion_mnist(split, reader.get<std::string>("root", kFashionMnistRoot));
  } else if (name == "mnist") {
    dataset = load_mnist(split, reader.require<std::string>("root"));
  } else if (name == "cifar10") {
    dataset = load_cifar10(split, reader.require<std::string>("root"));
  } else if (name == "cifar100") {
    dataset = load_cifar100(split, reader.require<std::string>("root"));
  } else if (name == "image_folder") {
    dataset = make_image_folder(reader, split, progress);
  } else if (name == "idx") {
    dataset = make_idx(reader, split);
  } else {
    fail(
        "dataset", "unknown name \"{}\": {}", name,
        suggestion(name, {"fashion_mnist", "mnist", "cifar10", "cifar100", "image_folder", "idx"}));
  }
  reader.finish();
  return dataset;
}

bool has_test_split(const Json& config) {
  JsonReader reader(config, "dataset");
  const auto name = reader.require<std::string>("name");
  if (name == "idx") return reader.has("test");
  return name != "image_folder" || !test_folder(reader.require<std::string>("root")).empty();
}

}  // namespace invar
