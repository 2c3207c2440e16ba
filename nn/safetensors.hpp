#pragma once
// Tensors in files that Python's `safetensors` package reads and writes.
//
//   8 bytes    length n of the header, little-endian
//   n bytes    JSON: {"__metadata__": {"key": "text", ...},
//                     "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
//   the rest   the tensors' bytes, row-major and little-endian; offsets count from here
//
//   dtype   F64  F32  BF16  I64  I32  U8  BOOL     F16
//   DType   f64  f32  bf16  i64  i32  u8  boolean  f32 (read only: there is no 16-bit IEEE dtype)
//
// A file is believed only as far as it is checked. Opening it verifies the whole header: the
// tensors must cover the bytes after it exactly, without gap or overlap, and each must have the
// size that its shape and dtype say. Whatever is wrong is an invar::Error that names the file, the
// tensor, what was expected and what was found.
//
// The same tensors and metadata give the same file: wide dtypes come first (so that every tensor is
// aligned to its element size), then names in alphabetical order.
//
// Format: https://github.com/huggingface/safetensors#format
#include <cstdint>
#include <filesystem>
#include <functional>
#include <invar/core/file.hpp>
#include <invar/core/tensor.hpp>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace invar {

/// Tensors by name: "layer1.0.conv1.weight".
using StateDict = std::map<std::string, Tensor, std::less<>>;

/// Text by key; structured values are stored as JSON text.
using Metadata = std::map<std::string, std::string, std::less<>>;

/// An open file whose header has been verified. Tensors are read one by one, so that an encoder can
/// be taken out of a checkpoint without its optimiser. Several threads may read.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const Metadata& metadata() const { return metadata_; }
  /// In alphabetical order.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return entries_.find(name) != entries_.end(); }
  /// A new tensor; Error if there is none of this name.
  Tensor read(std::string_view name) const;

 private:
  struct Entry {
    std::string file_dtype;  // as in the header
    Dims shape;
    std::uint64_t begin;  // from the end of the header, in bytes
    std::uint64_t end;
  };

  /// From the header; `where` names tensor and file.
  static Entry entry_of(const nlohmann::json& value, const std::string& where);

  FileReader file_;
  std::uint64_t data_start_ = 0;
  Metadata metadata_;
  std::map<std::string, Entry, std::less<>> entries_;
};

/// All tensors of a file.
StateDict read_safetensors(const std::filesystem::path& path);

/// Replaces `path` atomically (core/file.hpp). Gradients and history are not stored.
void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const Metadata& metadata = {});

}  // namespace invar
