#pragma once
// The CPU's kernels: ops/kernels.hpp says what each does. Views are made by data/pixels.hpp,
// without a kernel.
#include <invar/ops/kernels.hpp>

namespace invar::cpu {

#include <invar/ops/kernel_functions.inc>

}  // namespace invar::cpu
