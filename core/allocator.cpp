#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <invar/core/allocator.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/error.hpp>
#include <invar/core/integers.hpp>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace invar {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kSmall = std::size_t{512} << 10;  // up to here blocks come from buckets
constexpr std::size_t kGranule = std::size_t{1} << 16;  // larger blocks are multiples of this

struct Bucket {
  int index;
  std::size_t bytes;
};

// 512 is the first octave; its eighths are multiples of 64 bytes.
Bucket bucket_of(std::size_t bytes) {
  if (bytes <= 512) {
    const std::size_t n = std::max<std::size_t>(ceil_div(bytes, 64), 1);
    return {static_cast<int>(n) - 1, n * 64};
  }
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave+1)
  const std::size_t step = (std::size_t{1} << octave) / 8;
  const std::size_t eighths = ceil_div(bytes - (std::size_t{1} << octave), step);  // 1..8
  return {(octave - 8) * 8 + static_cast<int>(eighths) - 1,
          (std::size_t{1} << octave) + eighths * step};
}

std::size_t bytes_of_bucket(int index) {
  return index < 8 ? (static_cast<std::size_t>(index) + 1) * 64
                   : (std::size_t{1} << (index / 8 + 8)) / 8 *
                         (8 + static_cast<std::size_t>(index) % 8 + 1);
}

bool is_large(std::size_t bytes) { return bytes > kSmall; }

/// What a request takes.
std::size_t rounded(std::size_t bytes) {
  return is_large(bytes) ? round_up(bytes, kGranule) : bucket_of(bytes).bytes;
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
  void* block =
      std::aligned_alloc(huge ? kHugePage : kAlignment, huge ? round_up(bytes, kHugePage) : bytes);
  if (block && huge) madvise(block, bytes, MADV_HUGEPAGE);  // advice: failure changes nothing
  return block;
}

void release_cpu(void* block, std::size_t) { std::free(block); }

std::string readable(std::size_t bytes) {
  return bytes < (std::size_t{1} << 20) ? fmt::format("{} B", bytes)
                                        : fmt::format("{:.1f} MiB", bytes / 1048576.0);
}

}  // namespace

void* CachingAllocator::allocate(std::size_t requested) {
  check(requested <= (std::size_t{1} << 48), "allocate",
        "expected at most 2^48 bytes, got {}: is a shape wrong?", requested);
  const std::size_t bytes = rounded(requested);
  std::lock_guard lock(mutex_);
  ++stats_.requests;
  void* block = take_cached(bytes);
  if (!block) {
    take_from_system(requested);
    block = take_cached(bytes);
  }
  set_poisoned(block, bytes, false);
  stats_.cached -= bytes;
  stats_.in_use += bytes;
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  all_time_peak_ = std::max(all_time_peak_, stats_.in_use);
  return block;
}

void CachingAllocator::release(void* block, std::size_t requested) noexcept {
  const std::size_t bytes = rounded(requested);
  std::lock_guard lock(mutex_);
  stats_.in_use -= bytes;
  stats_.cached += bytes;
  set_poisoned(block, bytes, !keeps_cache_);  // recorded work goes on using it
  if (is_large(bytes)) {
    add_hole(chunks_.find(static_cast<char*>(block)));
  } else {
    small_[static_cast<std::size_t>(bucket_of(bytes).index)].push_back(block);
  }
}

/// Null if there is nothing that fits.
void* CachingAllocator::take_cached(std::size_t bytes) {
  if (is_large(bytes)) {
    const auto smallest = holes_.lower_bound({bytes, nullptr});
    return smallest == holes_.end() ? nullptr : cut(chunks_.find(smallest->second), bytes);
  }
  auto& list = small_[static_cast<std::size_t>(bucket_of(bytes).index)];
  if (list.empty()) return nullptr;
  void* const block = list.back();
  list.pop_back();
  return block;
}

/// Puts what serves a request into the cache.
void CachingAllocator::take_from_system(std::size_t requested) {
  const std::size_t bytes = rounded(requested);
  const auto held = [this] { return stats_.in_use + stats_.cached; };
  const auto over_limit = [&](std::size_t more) {
    return stats_.limit != 0 && held() + more > stats_.limit;
  };
  const std::size_t bound = all_time_peak_ + all_time_peak_ / 2 + (std::size_t{64} << 20);
  if (over_limit(bytes) || held() + bytes > bound) empty_cache_locked();
  if (over_limit(bytes)) {
    fail("allocate",
         "out of memory: asked for {}, {} in use and {} in pieces too small, of a limit of {}: use "
         "a smaller batch or raise the limit",
         readable(requested), readable(stats_.in_use), readable(stats_.cached),
         readable(stats_.limit));
  }
  std::size_t fresh = bytes;
  if (is_large(bytes)) {
    fresh = std::max(round_up(bytes, kHugePage), round_up(held() / 8, kHugePage));
    if (over_limit(fresh) || held() + fresh > bound) fresh = bytes;
  }
  void* block = raw_.allocate(fresh);
  if (!block) {
    empty_cache_locked();
    block = raw_.allocate(fresh = bytes);
  }
  if (!block) {
    fail("allocate",
         "out of memory: asked for {}, {} in use and {} in pieces too small{}: use a smaller batch "
         "or model",
         readable(requested), readable(stats_.in_use), readable(stats_.cached),
         raw_.available ? fmt::format(", {} free on the GPU", readable(raw_.available())) : "");
  }
  ++stats_.from_system;
  stats_.cached += fresh;
  set_poisoned(block, fresh, true);
  if (is_large(bytes)) {
    const auto chunk = chunks_.insert({static_cast<char*>(block), {fresh, false, true}}).first;
    add_hole(chunk);
  } else {
    small_[static_cast<std::size_t>(bucket_of(bytes).index)].push_back(block);
  }
}

/// Uses the beginning of a hole; the rest of it remains one.
void* CachingAllocator::cut(Chunks::iterator hole, std::size_t bytes) {
  auto& [address, chunk] = *hole;
  holes_.erase({chunk.bytes, address});
  chunk.hole = false;
  if (chunk.bytes > bytes) {
    const std::size_t rest = chunk.bytes - bytes;
    chunk.bytes = bytes;
    chunks_.insert({address + bytes, {rest, true, false}});
    holes_.insert({rest, address + bytes});
  }
  return address;
}

/// Makes a chunk a hole, one with the holes beside it.
void CachingAllocator::add_hole(Chunks::iterator chunk) {
  const auto absorb = [this](Chunks::iterator first, Chunks::iterator second) {
    first->second.bytes += second->second.bytes;
    chunks_.erase(second);
  };
  chunk->second.hole = true;
  if (const auto next = std::next(chunk);
      next != chunks_.end() && next->second.hole && !next->second.begins_segment) {
    holes_.erase({next->second.bytes, next->first});
    absorb(chunk, next);
  }
  if (!chunk->second.begins_segment) {
    if (const auto before = std::prev(chunk); before->second.hole) {
      holes_.erase({before->second.bytes, before->first});
      absorb(before, chunk);
      chunk = before;
    }
  }
  holes_.insert({chunk->second.bytes, chunk->first});
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

void CachingAllocator::try_empty_cache() noexcept {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock) empty_cache_locked();
}

void CachingAllocator::keep_cache(bool on) {
  std::lock_guard lock(mutex_);
  keeps_cache_ = on;
}

void CachingAllocator::empty_cache_locked() noexcept {
  if (keeps_cache_) return;
  const auto give_back = [this](void* block, std::size_t bytes) {
    set_poisoned(block, bytes, false);
    raw_.release(block, bytes);
    stats_.cached -= bytes;
  };
  for (int index = 0; index < kBuckets; ++index) {
    auto& blocks = small_[static_cast<std::size_t>(index)];
    for (void* block : blocks) give_back(block, bytes_of_bucket(index));
    blocks.clear();
  }
  for (auto chunk = chunks_.begin(); chunk != chunks_.end();) {
    const auto next = std::next(chunk);
    const bool whole_segment =
        chunk->second.begins_segment && (next == chunks_.end() || next->second.begins_segment);
    if (chunk->second.hole && whole_segment) {
      holes_.erase({chunk->second.bytes, chunk->first});
      give_back(chunk->first, chunk->second.bytes);
      chunks_.erase(chunk);
    }
    chunk = next;
  }
}

CachingAllocator& allocator(Device device) {
  // Never destroyed: tensors in static variables may outlive every other static object.
  static auto* const cpu = new CachingAllocator({allocate_cpu, release_cpu});
  return device == kCpu ? *cpu : cuda::allocator(device.index);
}

}  // namespace invar
