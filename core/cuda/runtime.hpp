#pragma once
// What core needs of NVIDIA's runtime: memory of a GPU and copies to and from it. runtime.cpp is
// compiled where there is CUDA (INVAR_CUDA), absent.cpp elsewhere; no other file of core knows.
#include <cstddef>
#include <invar/core/allocator.hpp>

namespace invar::cuda {

/// True iff this build has CUDA.
bool is_built();

/// The GPUs that this process can use; 0 without CUDA, a driver or a GPU.
int device_count();

/// The GPU's caching allocator. Error if this build has no CUDA or the machine no such GPU.
CachingAllocator& allocator(int index);

/// Copies between two places, each on the CPU or a GPU. Work that was started before on the GPUs is
/// done first; the bytes have arrived on return.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes);

}  // namespace invar::cuda
