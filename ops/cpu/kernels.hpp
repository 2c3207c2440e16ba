#pragma once
// The CPU's kernels: ops/kernels.hpp says what each does. Augmented images have no kernel
// here: data/pixels.hpp makes them one by one.
#include <invar/ops/kernels.hpp>

namespace invar::cpu {

#include <invar/ops/kernel_functions.inc>

}  // namespace invar::cpu
