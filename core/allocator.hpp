#pragma once
// The caching allocator: freed memory is kept and handed out again, so that a training step in its
// steady state asks the operating system for nothing.
//
//   - Small blocks (up to 512 KiB) are kept in buckets by size, eight per power of two (from 512
//     bytes on at most an eighth is wasted); a block only ever serves its own bucket.
//   - Large ones are cut from segments: the smallest hole that fits is cut to size, what is
//     given back joins the holes beside it. Tensors of different sizes thus share memory over a
//     step. A fresh segment is as large as the request, or an eighth of what is held already.
//   - The cache is bounded: before fresh memory is taken beyond 1.5 x the peak in use (+ 64 MiB),
//     whatever is wholly unused goes back first. Changing shapes therefore cannot make memory
//     creep.
//   - With a limit set, an allocation that would pass it first empties the cache, then throws Error
//     naming what was asked, in use and allowed.
//   - Blocks are 64-byte aligned. Thread safe (one mutex).
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <invar/core/device.hpp>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace invar {

struct MemoryStats {
  std::size_t in_use = 0;         ///< bytes held by live storages
  std::size_t peak = 0;           ///< highest in_use since the last reset_peak
  std::size_t cached = 0;         ///< bytes kept for reuse; the system may not have backed them yet
  std::size_t limit = 0;          ///< upper bound of in_use + cached; 0: none
  std::uint64_t requests = 0;     ///< calls of allocate
  std::uint64_t from_system = 0;  ///< requests that the cache could not serve
};

/// Where fresh memory comes from: the operating system, or a GPU's driver.
struct RawMemory {
  std::function<void*(std::size_t bytes)> allocate;  ///< nullptr when there is none
  std::function<void(void* block, std::size_t bytes)> release;
  /// What the system says it still has; null where it does not say.
  std::function<std::size_t()> available = nullptr;
};

class CachingAllocator {
 public:
  explicit CachingAllocator(RawMemory raw) : raw_(std::move(raw)) {}

  /// A block of at least `bytes` bytes (never nullptr).
  void* allocate(std::size_t bytes);
  /// Takes back a block; `bytes` as given to allocate.
  void release(void* block, std::size_t bytes) noexcept;

  MemoryStats stats() const;
  void reset_peak();
  /// 0 removes the limit.
  void set_limit(std::size_t bytes);
  /// Returns what is wholly unused to the system: small blocks, and segments without a tensor.
  void empty_cache();
  /// The same, unless the allocator is at work just now.
  void try_empty_cache() noexcept;
  /// While on, nothing is returned to the system: recorded work uses it (cuda/graph.hpp).
  void keep_cache(bool on);

 private:
  static constexpr int kBuckets = 11 * 8;  // of small blocks

  /// A stretch of a segment, in use or a hole. Two holes are never neighbours.
  struct Chunk {
    std::size_t bytes;
    bool hole;
    bool begins_segment;
  };
  using Chunks = std::map<char*, Chunk>;

  void* take_cached(std::size_t bytes);
  void take_from_system(std::size_t requested);
  void* cut(Chunks::iterator hole, std::size_t bytes);
  void add_hole(Chunks::iterator chunk);
  void empty_cache_locked() noexcept;

  RawMemory raw_;
  mutable std::mutex mutex_;
  std::array<std::vector<void*>, kBuckets> small_;
  Chunks chunks_;  ///< all of all segments
  std::set<std::pair<std::size_t, char*>> holes_;
  MemoryStats stats_;
  std::size_t all_time_peak_ = 0;
  bool keeps_cache_ = false;
};

/// The allocator of a device; throws Error for a device this build does not support.
CachingAllocator& allocator(Device device = kCpu);

}  // namespace invar
