#pragma once
// A GPU that is emulated, for tests on machines without one: memory that programs cannot touch but
// in its kernels and copies, and the own kernels of ops/cuda run thread after thread.
//
//   device.cpp                      core/cuda's runtime and streams over that memory
//   invar/ops/cuda/primitives.cuh   comes before the real one of this name: launches are loops
//   kernels.cpp                     the sources of ops/cuda, compiled for the CPU, in a table
//   libraries.cpp                   cuBLAS, cuBLASLt and cuSOLVER by plain loops and LAPACK, where
//                                   NVIDIA's headers are; elsewhere the CPU's kernels take the
//                                   place of their callers
//
// What it shows: that kernels compute what the CPU's compute, inside their memory (with
// AddressSanitizer), that no operation reads a GPU's memory from the host, and that matrices are
// described to the libraries as they lie. What it cannot show: how many threads run at once, what
// the libraries themselves do, and cuDNN: every convolution is computed by the plain kernels.
#include <functional>

namespace invar::cuda {

/// The emulated memory can be touched while there is one of these.
class OnDevice {
 public:
  OnDevice();
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
};

/// Does the work of a kernel, or keeps it for the graph that is being recorded.
void run_on_device(std::function<void()> work);

}  // namespace invar::cuda
