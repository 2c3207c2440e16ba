#include <invar/core/allocator.hpp>
#include <invar/core/storage.hpp>

namespace invar {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> counter{0};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device)
    : bytes_(bytes), device_(device), allocator_(&allocator(device)), id_(next_id()) {
  data_ = allocator_->allocate(bytes);
}

Storage::Storage(void* data, std::size_t bytes, Device device, std::function<void()> deleter)
    : data_(data),
      bytes_(bytes),
      device_(device),
      allocator_(nullptr),
      id_(next_id()),
      deleter_(std::move(deleter)) {}

Storage::~Storage() {
  if (allocator_) allocator_->release(data_, bytes_);
  if (deleter_) deleter_();
}

}  // namespace invar
