// Compiled for avx512 (ops/CMakeLists.txt); called only where isa() says so.
namespace invar::cpu {
namespace {
constexpr int kWidth = 16;
}
}  // namespace invar::cpu

#include <invar/ops/cpu/winograd_kernels.inc>

namespace invar::cpu {
const WinogradKernels& winograd_avx512() { return kKernels<F32>; }
}  // namespace invar::cpu
