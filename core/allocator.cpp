#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <invar/core/allocator.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/error.hpp>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace invar {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

struct Bucket {
  int index;
  std::size_t bytes;
};

// 512 is the first octave; its eighths are multiples of 64 bytes.
Bucket bucket_of(std::size_t bytes) {
  if (bytes <= 512) {
    const std::size_t n = std::max<std::size_t>((bytes + 63) / 64, 1);
    return {static_cast<int>(n) - 1, n * 64};
  }
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave+1)
  const std::size_t step = (std::size_t{1} << octave) / 8;
  const std::size_t eighths = (bytes - (std::size_t{1} << octave) + step - 1) / step;  // 1..8
  return {(octave - 8) * 8 + static_cast<int>(eighths) - 1,
          (std::size_t{1} << octave) + eighths * step};
}

// A cached block belongs to nobody: AddressSanitizer reports whoever touches it.
void set_poisoned([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes,
                  [[maybe_unused]] bool poisoned) {
#if defined(__SANITIZE_ADDRESS__)
  if (poisoned) {
    __asan_poison_memory_region(block, bytes);
  } else {
    __asan_unpoison_memory_region(block, bytes);
  }
#endif
}

void* allocate_cpu(std::size_t bytes) {
  // Activations are tens of megabytes: huge pages save most of the page faults and TLB misses.
  const bool huge = bytes >= 2 * kHugePage;
  void* block = std::aligned_alloc(huge ? kHugePage : kAlignment,
                                   huge ? (bytes + kHugePage - 1) / kHugePage * kHugePage : bytes);
  if (block && huge) madvise(block, bytes, MADV_HUGEPAGE);  // advice: failure changes nothing
  return block;
}

void release_cpu(void* block, std::size_t) { std::free(block); }

std::string readable(std::size_t bytes) {
  return bytes < (std::size_t{1} << 20) ? fmt::format("{} B", bytes)
                                        : fmt::format("{:.1f} MiB", bytes / 1048576.0);
}

}  // namespace

void* CachingAllocator::allocate(std::size_t bytes) {
  check(bytes <= (std::size_t{1} << 48), "allocate",
        "expected at most 2^48 bytes, got {}: is a shape wrong?", bytes);
  const Bucket bucket = bucket_of(bytes);
  std::lock_guard lock(mutex_);
  ++stats_.requests;
  void* block = nullptr;
  if (auto& list = free_[bucket.index]; !list.empty()) {
    block = list.back();
    list.pop_back();
    stats_.cached -= bucket.bytes;
    set_poisoned(block, bucket.bytes, false);
  } else {
    const std::size_t held = stats_.in_use + stats_.cached + bucket.bytes;
    const std::size_t bound = all_time_peak_ + all_time_peak_ / 2 + (std::size_t{64} << 20);
    const bool over_limit = stats_.limit != 0 && held > stats_.limit;
    if (over_limit || (stats_.cached > 0 && held > bound)) empty_cache_locked();
    if (over_limit && stats_.in_use + bucket.bytes > stats_.limit) {
      fail("allocate",
           "out of memory: asked for {}, {} in use of a limit of {}: use a smaller batch or raise "
           "the limit",
           readable(bytes), readable(stats_.in_use), readable(stats_.limit));
    }
    block = raw_.allocate(bucket.bytes);
    if (!block) {
      empty_cache_locked();
      block = raw_.allocate(bucket.bytes);
    }
    check(block != nullptr, "allocate",
          "out of memory: asked for {}, {} in use: use a smaller batch or model", readable(bytes),
          readable(stats_.in_use));
    ++stats_.from_system;
  }
  stats_.in_use += bucket.bytes;
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  all_time_peak_ = std::max(all_time_peak_, stats_.in_use);
  return block;
}

void CachingAllocator::release(void* block, std::size_t bytes) noexcept {
  const Bucket bucket = bucket_of(bytes);
  std::lock_guard lock(mutex_);
  stats_.in_use -= bucket.bytes;
  stats_.cached += bucket.bytes;
  set_poisoned(block, bucket.bytes, true);
  free_[bucket.index].push_back(block);
}

MemoryStats CachingAllocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void CachingAllocator::reset_peak() {
  std::lock_guard lock(mutex_);
  stats_.peak = stats_.in_use;
}

void CachingAllocator::set_limit(std::size_t bytes) {
  std::lock_guard lock(mutex_);
  stats_.limit = bytes;
}

void CachingAllocator::empty_cache() {
  std::lock_guard lock(mutex_);
  empty_cache_locked();
}

void CachingAllocator::empty_cache_locked() noexcept {
  for (int octave = 0; octave < kBuckets; ++octave) {
    if (free_[octave].empty()) continue;
    const std::size_t bytes = octave < 8
                                  ? (octave + 1) * std::size_t{64}
                                  : (std::size_t{1} << (octave / 8 + 8)) / 8 * (8 + octave % 8 + 1);
    for (void* block : free_[octave]) {
      set_poisoned(block, bytes, false);
      raw_.release(block, bytes);
    }
    free_[octave].clear();
  }
  stats_.cached = 0;
}

CachingAllocator& allocator(Device device) {
  // Never destroyed: tensors in static variables may outlive every other static object.
  static auto* const cpu = new CachingAllocator({allocate_cpu, release_cpu});
  return device == kCpu ? *cpu : cuda::allocator(device.index);
}

}  // namespace invar
