#pragma once
// What the users of NVIDIA's libraries (conv.cpp, matmul.cpp, linalg.cu) have in common: handles,
// and a cache of what a library has decided for a problem.
#include <array>
#include <cstdint>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/lru_cache.hpp>
#include <invar/core/tensor.hpp>
#include <invar/ops/problem_key.hpp>
#include <memory>
#include <mutex>
#include <utility>

namespace invar::cuda {

/// A handle of a library, for one thread at a time and set to that thread's stream.
template <class T>
struct Lease {
  T handle;
  std::unique_lock<std::mutex> lock;
};

/// A library's handles, one per GPU. They are made when first wanted and, as an object of this
/// class is never destroyed (see the users), never given back: at exit the driver may be gone
/// first.
template <class T>
class Handles {
 public:
  using Make = T (*)();
  using SetStream = void (*)(T handle, CUstream_st* stream);

  Handles(Make make, SetStream set_stream) : make_(make), set_stream_(set_stream) {}

  Lease<T> lease(Device gpu) {
    CUstream_st* const stream = current_stream(gpu.index);
    Entry& entry = entries_[static_cast<std::size_t>(gpu.index)];
    std::unique_lock lock(entry.mutex);
    if (!entry.made) {
      entry.handle = make_();
      entry.made = true;
      set_stream_(entry.handle, stream);
    } else if (entry.stream != stream) {
      set_stream_(entry.handle, stream);
    }
    entry.stream = stream;
    return {entry.handle, std::move(lock)};
  }

 private:
  struct Entry {
    std::mutex mutex;
    bool made = false;
    T handle{};
    CUstream_st* stream = nullptr;
  };
  Make make_;
  SetStream set_stream_;
  std::array<Entry, 128> entries_;  // as many as Device has numbers
};

/// What a library has decided for a problem. The users hold the lock of a lease.
template <class Plan>
struct PlanCache : LruCache<ProblemKey, Plan> {
  PlanCache() : LruCache<ProblemKey, Plan>(1024) {}
};

/// Memory of a GPU for work that is started on the current stream while this lives. It begins at a
/// multiple of 256 bytes, which cuBLASLt wants.
class Workspace {
 public:
  Workspace(std::size_t bytes, Device gpu)
      : bytes_(bytes),
        memory_(empty({static_cast<std::int64_t>(bytes + kAlignment)},
                      {.dtype = DType::u8, .device = gpu})) {}

  std::size_t bytes() const { return bytes_; }
  void* data() const {
    void* start = memory_.raw_data();
    std::size_t room = bytes_ + kAlignment;
    return std::align(kAlignment, bytes_, start, room);
  }

 private:
  static constexpr std::size_t kAlignment = 256;
  std::size_t bytes_;
  Tensor memory_;
};

}  // namespace invar::cuda
