#pragma once
// LruCache: what was made for a key, kept for the next time; the most recently used values.
//
//   Plan& plan = plans.find_or_make(key, [&] { return make_plan(problem); });
//
// Not thread safe: its users have a lock.
#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace invar {

template <class Key, class Value>
class LruCache {
 public:
  explicit LruCache(std::size_t capacity) : capacity_(capacity) {}

  /// The value of this key; make() on a miss. Valid until the next call.
  template <class Make>
  Value& find_or_make(const Key& key, const Make& make) {
    if (const auto found = index_.find(key); found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return order_.front().second;
    }
    order_.emplace_front(key, make());
    index_.emplace(key, order_.begin());
    shrink();
    return order_.front().second;
  }

  std::size_t size() const { return order_.size(); }
  std::size_t capacity() const { return capacity_; }
  /// Drops the least recently used values beyond it; at least 1.
  void set_capacity(std::size_t capacity) {
    capacity_ = capacity;
    shrink();
  }

 private:
  using Order = std::list<std::pair<Key, Value>>;  // the most recently used first

  void shrink() {
    while (order_.size() > capacity_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
  }

  std::size_t capacity_;
  Order order_;
  std::map<Key, typename Order::iterator> index_;
};

}  // namespace invar
