#pragma once
// Included by files that are compiled with CUDA only.
#include <cuda_runtime_api.h>

#include <invar/core/error.hpp>
#include <string_view>

namespace invar::cuda {

/// Throws InternalError naming `op` unless a call of the runtime succeeded. What users can cause
/// (no GPU, no memory) is caught before; a GPU that this build has no kernels for shows here.
inline void check_cuda(cudaError_t result, std::string_view op) {
  if (result == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // told now: it is not the next call's
  if (result == cudaErrorNoKernelImageForDevice || result == cudaErrorUnsupportedPtxVersion) {
    fail(
        op,
        "expected a GPU and a driver that this build has kernels for, got CUDA's \"{}\": configure "
        "with -DCMAKE_CUDA_ARCHITECTURES=native",
        cudaGetErrorString(result));
  }
  fail_internal(op, "CUDA: {} ({})", cudaGetErrorString(result), cudaGetErrorName(result));
}

}  // namespace invar::cuda
