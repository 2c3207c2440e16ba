#pragma once
// The same values elsewhere: another dtype, another device, another block of memory.
#include <invar/core/tensor.hpp>

namespace invar {

/// x itself if it has the dtype already. Real to integer truncates; to boolean is x != 0. The
/// gradient is converted back; between integers there is none.
Tensor to(const Tensor& x, DType dtype);
/// x itself if its dtype is floating, else in f32: for functions of reals.
Tensor as_floating(const Tensor& x);
/// x itself if it is there already, else a dense copy. The gradient goes back the same way.
/// `non_blocking`: does not wait for a copy from pinned memory to a GPU, but keeps x until it is
/// done; x is not to be written before. Other copies are as ever.
Tensor to(const Tensor& x, Device device, bool non_blocking = false);
/// In memory of the CPU that GPUs read by themselves, dense, its values undefined. Error without a
/// GPU.
Tensor empty_pinned_like(const Tensor& x);
/// A dense copy in memory of the CPU that GPUs read by themselves: at the full speed of the bus,
/// and while the CPU does something else. Error without a GPU. No history.
Tensor pin_memory(const Tensor& x);
/// A dense copy.
Tensor clone(const Tensor& x);
/// x itself if it is dense already, else a dense copy.
Tensor contiguous(const Tensor& x);

struct DTypeRange {
  double low, high;
};

/// The least and the greatest double among the values of an integer dtype; 0 and 1 of boolean.
DTypeRange range_of(DType dtype);
/// Throws Error if `dtype` is one of integers and does not have `value`, truncated.
void check_value(std::string_view op, DType dtype, double value);

/// True iff both address the same elements in the same order.
bool is_same_view(const Tensor& a, const Tensor& b);

// In place (in_place.hpp).

/// Overwrites x with y, broadcast and converted. Returns x.
Tensor copy_(const Tensor& x, const Tensor& y);
Tensor fill_(const Tensor& x, double value);
Tensor zero_(const Tensor& x);

}  // namespace invar
