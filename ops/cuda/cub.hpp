#pragma once
// What CUB does for the kernels: the one translation unit that includes it (it takes long to
// compile) is cub.cu.
#include <invar/core/tensor.hpp>

namespace invar::cuda {

/// Sorts each line of n keys, and the numbers beside them, in place and ascending; equal keys stay
/// in their order. Only the lowest `bits` of a key count. There are fewer than 2^31 keys, if there
/// are several lines; `like` is a tensor on the GPU that is meant.
void sort_pairs(const Tensor& like, std::uint64_t* keys, std::int64_t* numbers, std::int64_t lines,
                std::int64_t n, int bits);

/// The places of `mask` (n booleans) that are true, ascending, go to `places`, their number to
/// *count.
void find_true(const Tensor& mask, std::int64_t* places, std::int64_t* count);

}  // namespace invar::cuda
