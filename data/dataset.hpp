#pragma once
// Dataset: numbered, labelled images; the data sets that come with the library.
//
//   Dataset              the interface: size, read(i), classes, shape; derive from it for your data
//     MemoryDataset      images of one size in one block of bytes: IDX and CIFAR files
//     ImageListDataset   images of any sizes: a folder per class
//
//   load_mnist, load_fashion_mnist, load_idx, load_cifar10, load_cifar100, load_image_folder build
//   them, make_dataset builds the one that a JSON object names.
//
// Damaged or missing files are an invar::Error that names the file and says what was expected and
// what was found.
//
// Threads: a Dataset does not change after construction, so `read` may be called from any number of
// threads at once; your own must keep to that.
#include <cstdint>
#include <functional>
#include <invar/core/json_reader.hpp>
#include <invar/data/image.hpp>
#include <memory>
#include <string>
#include <vector>

namespace invar {

/// An image and its class, an index into Dataset::classes(); -1 where there are no labels.
struct Sample {
  Image image;
  std::int64_t label = -1;
};

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual std::int64_t size() const = 0;
  /// Fills `into` with sample i, 0 <= i < size(). Its buffer is reused: nothing is allocated once
  /// it is large enough.
  virtual void read(std::int64_t i, Sample& into) const = 0;
  /// Names of the classes; empty where there are no labels.
  virtual const std::vector<std::string>& classes() const = 0;
  /// Size of the images, of 1 or 3 channels; height and width are 0 if it differs from image to
  /// image.
  virtual ImageShape shape() const = 0;

  Sample get(std::int64_t i) const {
    Sample sample;
    read(i, sample);
    return sample;
  }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// N images of one shape, [N,H,W,C] in one block of bytes.
class MemoryDataset : public Dataset {
 public:
  /// Error unless pixels.size() == labels.size() * shape.size() and every label is a class.
  MemoryDataset(ImageShape shape, std::vector<std::uint8_t> pixels,
                std::vector<std::int64_t> labels, std::vector<std::string> classes);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  void read(std::int64_t i, Sample& into) const override;
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageShape shape() const override { return shape_; }

  const std::vector<std::uint8_t>& pixels() const { return pixels_; }
  const std::vector<std::int64_t>& labels() const { return labels_; }

 private:
  ImageShape shape_;
  std::vector<std::uint8_t> pixels_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> classes_;
};

/// Samples one by one, of any sizes but one number of channels.
class ImageListDataset : public Dataset {
 public:
  ImageListDataset(std::vector<Sample> samples, std::vector<std::string> classes);

  std::int64_t size() const override { return static_cast<std::int64_t>(samples_.size()); }
  void read(std::int64_t i, Sample& into) const override;
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageShape shape() const override { return shape_; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::string> classes_;
  ImageShape shape_;
};

/// Which half of a data set.
enum class Split { train, test };

// ---- IDX: MNIST and its relatives ---------------------------------------------------------------

/// Element types of an IDX file; the values are the format's.
enum class IdxType : std::uint8_t {
  u8 = 0x08,
  i8 = 0x09,
  i16 = 0x0B,
  i32 = 0x0C,
  f32 = 0x0D,
  f64 = 0x0E,
};

/// The content of an IDX file: row-major, in this machine's byte order.
struct IdxArray {
  IdxType type;
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> bytes;
};

/// Reads an IDX file, gzipped or not: 00 00, type, number of dimensions, each dimension as a 32-bit
/// big-endian integer, the elements (big-endian too).
IdxArray read_idx(const std::string& path);

/// A pair of IDX files: images u8 [N,H,W] or [N,H,W,C], labels u8 [N]. Without class names the
/// classes are "0", "1", ...
DatasetPtr load_idx(const std::string& images, const std::string& labels,
                    std::vector<std::string> classes = {});

inline constexpr const char* kFashionMnistRoot = "/usr/share/datasets/fashion-mnist";

/// Fashion-MNIST: 60,000 / 10,000 grey 28x28 images of ten kinds of clothing (Xiao et al. 2017).
/// The default folder is where Debian's package dataset-fashion-mnist puts it.
DatasetPtr load_fashion_mnist(Split split, const std::string& root = kFashionMnistRoot);

/// MNIST, same files as Fashion-MNIST; classes "0" to "9".
DatasetPtr load_mnist(Split split, const std::string& root);

// ---- CIFAR --------------------------------------------------------------------------------------

/// CIFAR-10, the official binary version: data_batch_1.bin .. data_batch_5.bin and test_batch.bin
/// in `root` or in root/cifar-10-batches-bin. 50,000 / 10,000 images of 32x32x3.
DatasetPtr load_cifar10(Split split, const std::string& root);

/// CIFAR-100, the official binary version: train.bin and test.bin in `root` or in
/// root/cifar-100-binary. The labels are the 100 fine ones.
DatasetPtr load_cifar100(Split split, const std::string& root);

// ---- Folders ------------------------------------------------------------------------------------

/// Told after every image, from any thread but never from two at once: images done, images in all.
using ProgressCallback = std::function<void(std::int64_t done, std::int64_t total)>;

struct ImageFolderOptions {
  /// Every image is brought to this many channels (1 or 3).
  int channels = 3;
  /// Threads that decode; 0: as many as the machine has cores.
  int threads = 0;
  /// Most bytes the decoded images may take in all.
  std::int64_t max_bytes = std::int64_t{8} << 30;
  ProgressCallback progress = {};
};

/// One folder per class below `root`, classes and files in alphabetical order of their bytes; files
/// that end in .jpg, .jpeg, .jpe, .jfif or .png (in any case), in sub-folders as well, hidden ones
/// left out. A root without folders is one of unlabelled images. Images of other formats, and such
/// beside the folders of classes, are an Error: they would be missed without a word.
DatasetPtr load_image_folder(const std::string& root, const ImageFolderOptions& options = {});

// ---- By name ------------------------------------------------------------------------------------

/// The data set that a JSON object names:
///
///   {"name": "fashion_mnist", "root": "..."}     root: as above if left out
///   {"name": "mnist", "root": "..."}
///   {"name": "cifar10", "root": "..."}
///   {"name": "cifar100", "root": "..."}
///   {"name": "image_folder", "root": "...", "channels": 3, "threads": 0, "max_bytes": 8589934592}
///        the classes, or unlabelled images, are in root/train and in root/test or root/val (of
///        two, the one with classes, or test); without any of the three, root itself holds those
///        to train on
///   {"name": "idx", "train": {"images": "...", "labels": "..."}, "test": {...},
///    "classes": ["...", ...]}                    classes may be left out, and the half that is not
///                                                asked for
///
/// Unknown names and keys are an Error that names the nearest one that exists.
DatasetPtr make_dataset(const Json& config, Split split, const ProgressCallback& progress = {});

/// False for an image_folder without test/ and val/ and for idx without "test": there, Split::test
/// is an Error.
bool has_test_split(const Json& config);

}  // namespace invar
