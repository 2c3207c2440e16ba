#pragma once
// What the golden tests share: the integer hash that both sides make inputs and weights from, and
// the comparison of a tensor with what a golden file says of it. generate.py, which writes those
// files with PyTorch, documents the hash, the stored numbers and the order of elements.
//
// Layout, one rule: every 4-D tensor here is an image or a convolution weight. PyTorch counts it as
// [N,C,H,W] or [O,I,kh,kw]; ours is that permuted by (0,2,3,1). The functions below take PyTorch's
// shapes and count in PyTorch's order; the tensors that they make and take are ours.
#include <cstdint>
#include <invar/core/tensor.hpp>
#include <invar/nn/module.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace golden {

using invar::Dims;
using invar::DType;
using invar::Tensor;
using nlohmann::json;

/// A file of this folder. The tests run in the project's root.
json load(const std::string& file);

std::uint64_t hash(std::string_view name, std::uint64_t i);
/// In [-1, 1), a multiple of 2^-23.
double unit(std::string_view name, std::uint64_t i);
/// An integer in [0, n).
std::int64_t below(std::string_view name, std::uint64_t i, std::int64_t n);

/// Element i is offset + scale unit(name, i), rounded to f32.
Tensor uniform(const std::string& name, const Dims& shape, DType dtype, double offset = 0,
               double scale = 1);
/// The weight, bias or running statistic of that name.
Tensor initial(const std::string& name, const Dims& shape, DType dtype);
/// Element i is below(name, i, n), i64.
Tensor integers(const std::string& name, const Dims& shape, std::int64_t n);
/// An input as ops.json describes it.
Tensor input(const std::string& name, const json& spec, DType dtype);

/// The shape that PyTorch gives to the tensor, and the elements in its order.
Dims torch_shape(const Tensor& t);
std::vector<double> torch_order(const Tensor& t);

/// Compares a tensor with its record. A difference is relative to the larger of the number itself
/// and what a number of its kind typically is: the root mean square for an element, the norm for a
/// projection. Beyond `tolerance` (or with another shape) it fails the running test, naming tensor,
/// element, both numbers and the difference. `all_gradients` is the norm of all gradients of the
/// case, below 1e-12 of which a gradient recorded as zero has to stay; without it no tensor may be.
/// Returns the largest difference.
double compare(const std::string& name, const Tensor& ours, const json& record, double tolerance,
               double all_gradients = 0);
/// The same for one number.
double compare(const std::string& name, double ours, double theirs, double tolerance);

/// Every parameter and buffer of a module gets the values that belong to prefix + its name.
void fill(invar::nn::Module& module, const std::string& prefix = "");
/// compare for a module's tensors: all of `records`, and no others but num_batches_tracked.
void compare(const std::string& name, const std::vector<invar::nn::NamedTensor>& tensors,
             const json& records, double tolerance);
/// The same for their gradients.
void compare_gradients(const std::string& name, const std::vector<invar::nn::NamedTensor>& tensors,
                       const json& records, double tolerance);

}  // namespace golden
