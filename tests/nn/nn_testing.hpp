#pragma once
// Shared by the tests of nn.
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <invar/core/tensor.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/view.hpp>
#include <string>
#include <vector>

/// All elements in row-major order.
inline std::vector<double> values_of(const invar::Tensor& x) {
  const invar::Tensor dense = contiguous(to(x.detach(), invar::DType::f64));
  return {dense.data<double>(), dense.data<double>() + dense.numel()};
}

/// What the Error says, "no error" if there is none.
inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const invar::Error& error) {
    return error.what();
  }
  return "no error";
}

/// A leaf with the same values under another shape.
inline invar::Tensor reshape_copy(const invar::Tensor& x, const invar::Dims& shape) {
  invar::Tensor y = clone(reshape(x.detach(), shape));
  y.requires_grad_();
  return y;
}

/// An empty folder that is removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "invar-nn-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};
