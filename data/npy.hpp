#pragma once
// One tensor in a NumPy file: numpy.load and numpy.save on the other side.
//
//   "\x93NUMPY"  major  minor   2 bytes (version 1; 4 bytes in 2 and 3): length of the header
//   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   spaces up to a multiple of 64
//   the elements, row-major
//
//   descr   <f4  <f8  <i8  <i4  |u1  |b1
//   DType   f32  f64  i64  i32  u8   boolean
//
// Whatever else a file says (big-endian, Fortran order, other types) is an Error that says how to
// convert it. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include <filesystem>
#include <invar/core/tensor.hpp>

namespace invar {

Tensor read_npy(const std::filesystem::path& path);

/// Replaces `path` atomically (core/file.hpp). NumPy has no bf16: Error.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace invar
