#include <cuda_runtime_api.h>

#include <array>
#include <invar/core/cuda/error.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <memory>

namespace invar::cuda {
namespace {

constexpr int kMostDevices = 64;

// The cache keeps what is freed, and everything runs on one stream: a block is only handed out
// again to work that is started after the work that used it before.
template <int kIndex>
RawMemory raw_memory() {
  return {[](std::size_t bytes) -> void* {
            void* block = nullptr;
            check_cuda(cudaSetDevice(kIndex), "allocate");
            const cudaError_t result = cudaMalloc(&block, bytes);
            if (result == cudaErrorMemoryAllocation) {
              cudaGetLastError();  // it is told by the null pointer
              return nullptr;
            }
            check_cuda(result, "allocate");
            return block;
          },
          [](void* block, std::size_t) {
            cudaSetDevice(kIndex);
            cudaFree(block);
          }};
}

template <int... kIndex>
std::array<RawMemory, sizeof...(kIndex)> raw_memories(std::integer_sequence<int, kIndex...>) {
  return {raw_memory<kIndex>()...};
}

}  // namespace

bool is_built() { return true; }

int device_count() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorNoDevice || result == cudaErrorInsufficientDriver) return 0;
  check_cuda(result, "cuda");
  return std::min(count, kMostDevices);
}

CachingAllocator& allocator(int index) {
  // Never destroyed: tensors in static variables may outlive every other static object.
  static auto* const allocators = [] {
    auto* made = new std::array<CachingAllocator*, kMostDevices>;
    const auto raw = raw_memories(std::make_integer_sequence<int, kMostDevices>());
    for (int i = 0; i < kMostDevices; ++i) (*made)[i] = new CachingAllocator(raw[i]);
    return made;
  }();
  static const int count = device_count();
  check(index >= 0 && index < count, "cuda", "expected one of {} GPUs, got cuda:{}{}", count, index,
        count == 0 ? ": is there a GPU, and an NVIDIA driver as new as this build's CUDA?" : "");
  return *(*allocators)[index];
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes) {
  if (bytes == 0) return;
  const Device gpu = to_device.type == DeviceType::cuda ? to_device : from_device;
  check_cuda(cudaSetDevice(gpu.index), "to");
  check_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "to");
}

}  // namespace invar::cuda
