#include <invar/core/lru_cache.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <mutex>
#include <tuple>

namespace invar {

Tensor cast_reduced(const Tensor& x, DType dtype) {
  if (!x.defined() || (x.dtype() != DType::f32 && x.dtype() != DType::bf16)) return x;
  return to(x, dtype);
}

namespace {

/// Casts of dense tensors.
class CastCache {
 public:
  Tensor cast(const Tensor& x, DType dtype) {
    const std::lock_guard lock(mutex_);
    Entry& entry = cache_.find_or_make({x.storage()->id(), x.offset(), x.numel(), dtype},
                                       [] { return Entry{}; });
    if (entry.values.defined() && entry.version == x.version()) {
      ++hits_;
    } else {
      ++misses_;
      entry.values = {};  // freed before the new ones are made
      entry.values = to(x.detach(), dtype);
      entry.version = x.version();
    }
    return alias(entry.values, x.shape(), contiguous_strides(x.shape()), 0);
  }

  CastCacheStats stats() {
    const std::lock_guard lock(mutex_);
    return {
        .entries = cache_.size(), .capacity = cache_.capacity(), .hits = hits_, .misses = misses_};
  }

 private:
  using Key = std::tuple<std::uint64_t, std::int64_t, std::int64_t, DType>;  // storage, part of it
  struct Entry {
    Tensor values;
    std::uint32_t version = 0;
  };

  std::mutex mutex_;
  LruCache<Key, Entry> cache_{256};  // ResNet-50 and an expander have 56 weights
  std::uint64_t hits_ = 0, misses_ = 0;
};

CastCache& cache() {
  static auto* const instance = new CastCache;  // never destroyed: neither is the allocator
  return *instance;
}

}  // namespace

Tensor lowered(const Tensor& parameter, DType dtype) {
  if (parameter.dtype() == dtype) return parameter.detach();
  const bool lasts = parameter.requires_grad() && parameter.is_leaf() && parameter.is_contiguous();
  return lasts ? cache().cast(parameter, dtype) : to(parameter.detach(), dtype);
}

CastCacheStats cast_cache_stats() { return cache().stats(); }

}  // namespace invar
