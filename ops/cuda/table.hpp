#pragma once
// Where ops/kernels.cpp finds what a GPU can do.
#include <invar/ops/kernels.hpp>

namespace invar::cuda {

/// The GPU's kernels; in a build without CUDA every slot is empty (absent.cpp).
const Kernels& table();

}  // namespace invar::cuda
