#pragma once
// What the users of NVIDIA's libraries (conv.cpp, matmul.cpp, linalg.cu) have in common: handles,
// and a cache of what a library has decided for a problem.
#include <array>
#include <cstdint>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/tensor.hpp>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

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

/// What a plan was made for: shapes, strides, dtypes, flags, alignment, GPU.
struct PlanKey {
  std::vector<std::int64_t> numbers;

  PlanKey(std::initializer_list<std::int64_t> numbers) : numbers(numbers) {}
  PlanKey& add(std::int64_t number) { return numbers.push_back(number), *this; }
  PlanKey& add(const Dims& dims) {
    numbers.push_back(dims.size());
    numbers.insert(numbers.end(), dims.begin(), dims.end());
    return *this;
  }
  auto operator<=>(const PlanKey&) const = default;
};

/// The most recently used plans. Not thread safe: the users hold the lock of a lease.
template <class Plan>
class PlanCache {
 public:
  /// The plan with this key; make() on a miss. Valid until the next call.
  template <class Make>
  Plan& find_or_make(const PlanKey& key, const Make& make) {
    if (const auto found = index_.find(key); found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return order_.front().second;
    }
    order_.emplace_front(key, make());
    index_.emplace(key, order_.begin());
    if (order_.size() > kCapacity) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return order_.front().second;
  }

 private:
  static constexpr std::size_t kCapacity = 1024;
  using Order = std::list<std::pair<PlanKey, Plan>>;  // the most recently used first
  Order order_;
  std::map<PlanKey, typename Order::iterator> index_;
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
