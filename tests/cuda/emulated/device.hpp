#pragma once
// A GPU that is emulated, for tests on machines without one: memory that programs cannot touch but
// in its kernels and copies, and the own kernels of ops/cuda run thread after thread.
//
//   device.cpp                      core/cuda's runtime and streams over that memory
//   invar/ops/cuda/primitives.cuh   comes before the real one of this name: launches are loops
//   kernels.cpp                     the sources of ops/cuda, compiled for the CPU, in a kernel
//   table
//
// What it shows: that kernels compute what the CPU's compute, inside their memory (with
// AddressSanitizer), and that no operation reads a GPU's memory from the host. What it cannot
// show: how many threads run at once, and cuDNN, cuBLASLt and cuSOLVER, whose place the CPU's
// kernels take.
namespace invar::cuda {

/// The emulated memory can be touched while there is one of these.
class OnDevice {
 public:
  OnDevice();
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
};

}  // namespace invar::cuda
