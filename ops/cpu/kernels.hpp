#pragma once
// The CPU's kernels: ops/kernels.hpp says what each does, table.cpp which there are.
#include <invar/ops/kernels.hpp>

namespace invar::cpu {

const Kernels& table();

#include <invar/ops/kernel_functions.inc>

}  // namespace invar::cpu
