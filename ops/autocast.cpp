#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <list>
#include <map>
#include <mutex>
#include <tuple>

namespace invar {

Tensor cast_reduced(const Tensor& x, DType dtype) {
  if (!x.defined() || (x.dtype() != DType::f32 && x.dtype() != DType::bf16)) return x;
  return to(x, dtype);
}

namespace {

/// Casts of dense tensors. The most recently used one is at the front of `order_`.
class CastCache {
 public:
  Tensor cast(const Tensor& x, DType dtype) {
    const Key key{x.storage()->id(), x.offset(), x.numel(), dtype};
    const std::lock_guard lock(mutex_);
    const auto [found, is_new] = index_.try_emplace(key);
    if (is_new) {
      order_.push_front({key, {}, 0});
      found->second = order_.begin();
    } else {
      order_.splice(order_.begin(), order_, found->second);
    }
    Entry& entry = order_.front();
    if (entry.values.defined() && entry.version == x.version()) {
      ++stats_.hits;
    } else {
      ++stats_.misses;
      entry.values = {};  // freed before the new ones are made
      entry.values = to(x.detach(), dtype);
      entry.version = x.version();
      if (order_.size() > stats_.capacity) {
        index_.erase(order_.back().key);
        order_.pop_back();
      }
    }
    return alias(entry.values, x.shape(), contiguous_strides(x.shape()), 0);
  }

  CastCacheStats stats() {
    const std::lock_guard lock(mutex_);
    stats_.entries = order_.size();
    return stats_;
  }

 private:
  using Key = std::tuple<std::uint64_t, std::int64_t, std::int64_t, DType>;  // storage, part of it
  struct Entry {
    Key key;
    Tensor values;
    std::uint32_t version;
  };

  std::mutex mutex_;
  std::list<Entry> order_;
  std::map<Key, std::list<Entry>::iterator> index_;
  // ResNet-50 and an expander have 56 weights.
  CastCacheStats stats_{.capacity = 256};
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
