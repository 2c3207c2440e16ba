#pragma once
// What core needs of NVIDIA's runtime: memory of a GPU and copies to and from it. runtime.cpp is
// compiled where there is CUDA (INVAR_CUDA), absent.cpp elsewhere; no other file of core knows.
// Streams are in stream.hpp.
#include <cstddef>
#include <invar/core/allocator.hpp>
#include <invar/core/intrusive_ptr.hpp>
#include <invar/core/storage.hpp>

namespace invar::cuda {

/// True iff this build has CUDA.
bool is_built();

/// The GPUs that this process can use; 0 without CUDA, a driver or a GPU.
int device_count();

/// The caching allocator of the GPU's current stream (Note [Memory and streams], stream.hpp). Error
/// if this build has no CUDA or the machine no such GPU.
CachingAllocator& allocator(int index);

/// Copies between two places, each on the CPU or a GPU, after the work that their current streams
/// were given. The bytes have arrived on return.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes);

/// Starts a copy of `bytes` bytes of a pinned storage, from `offset` on, to a GPU and returns at
/// once; later work on the current stream finds the bytes there. The storage is kept until they
/// are, and is not to be written before.
void copy_from_pinned(void* to, Device gpu, const StoragePtr& pinned, std::size_t offset,
                      std::size_t bytes);

/// Starts a copy from a GPU to the beginning of a pinned storage and returns at once: an Event says
/// when the bytes are there.
void copy_to_pinned(const StoragePtr& pinned, const void* from, Device gpu, std::size_t bytes);

/// Memory of the CPU that a GPU reads by itself. Error without CUDA or a GPU.
StoragePtr pinned_storage(std::size_t bytes);

/// True iff the storage is of that kind.
bool is_pinned(const Storage& storage);

// --- recording (graph.hpp is what to use)

/// Work of a GPU that can be started as a whole.
struct Recording;

/// From here on the work that the thread gives its current stream, which is not the default one, is
/// recorded and not done. Waiting for the GPU is an Error.
void begin_recording(int index);
Recording* end_recording(int index);
/// Error while the thread records: for what waits for the GPU, or reads memory of the host that may
/// be gone at a replay.
void check_not_recording(const char* what);
/// Ends it without a result, whatever has gone wrong.
void abandon_recording(int index) noexcept;
/// On the current stream.
void start(Recording* recording, int index);
void destroy(Recording* recording) noexcept;

/// A cache of memory beside those of the streams; never destroyed.
CachingAllocator* make_allocator(int index);
/// Makes the thread's allocations on a GPU come from there (null: from the current stream's cache);
/// returns what they came from before.
CachingAllocator* exchange_allocator(int index, CachingAllocator* own);

}  // namespace invar::cuda
