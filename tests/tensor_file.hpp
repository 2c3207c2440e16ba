#pragma once
// What the tests of files of tensors share: the tensors, and files with whatever contents.
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <invar/core/error.hpp>
#include <invar/core/tensor.hpp>
#include <invar/ops/factory.hpp>
#include <string>

namespace invar::test {

template <class T>
Tensor make(const Dims& shape, std::initializer_list<T> values) {
  Tensor tensor = empty(shape, {.dtype = dtype_of<T>});
  REQUIRE(tensor.numel() == static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), tensor.data<T>());
  return tensor;
}

/// A file name in the temporary folder, removed at the end.
class ScratchFile {
 public:
  ScratchFile() {
    std::string name = (std::filesystem::temp_directory_path() / "invar-test-XXXXXX").string();
    const int descriptor = ::mkstemp(name.data());
    REQUIRE(descriptor >= 0);
    ::close(descriptor);
    path_ = name;
  }
  ~ScratchFile() { std::filesystem::remove(path_); }
  operator const std::filesystem::path&() const { return path_; }
  void fill(const std::string& contents) const {
    std::filesystem::remove(path_);  // quicker than truncating, which some file systems flush
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    REQUIRE(std::fwrite(contents.data(), 1, contents.size(), file) == contents.size());
    std::fclose(file);
  }

 private:
  std::filesystem::path path_;
};

/// The message of the Error that read(file) gives when it holds `contents`; "" if it can be read.
template <class Read>
std::string message_of(const Read& read, const ScratchFile& file, const std::string& contents) {
  file.fill(contents);
  try {
    read(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace invar::test
