// Compiled for baseline (ops/CMakeLists.txt); called only where isa() says so.
namespace invar::cpu {
namespace {
constexpr int kWidth = 4;
}
}  // namespace invar::cpu

#include <invar/ops/cpu/winograd_kernels.inc>

namespace invar::cpu {
const WinogradKernels& winograd_baseline() { return kKernels<F32>; }
}  // namespace invar::cpu
