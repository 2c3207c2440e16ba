#pragma once
// Storage: a block of bytes on one device, shared by every tensor that is a view of it.
//
// Note [Version counter]: every in-place write through any view adds one to `version`. A tensor
// saved for backward remembers the version it saw; a later difference means its values are gone.
// The counter sits here, not in the tensor, because views and detached tensors share the bytes.
#include <atomic>
#include <cstdint>
#include <functional>
#include <invar/core/device.hpp>
#include <invar/core/intrusive_ptr.hpp>

namespace invar {

class CachingAllocator;

class Storage final : public RefCounted {
 public:
  /// Uninitialised bytes from the device's allocator.
  Storage(std::size_t bytes, Device device);
  /// Foreign bytes; `deleter` (may be empty) runs when the last tensor over them is gone.
  Storage(void* data, std::size_t bytes, Device device, std::function<void()> deleter);

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  /// True iff the bytes are the caller's own, given to from_blob.
  bool is_foreign() const { return allocator_ == nullptr; }
  /// Unique in the process, never reused (an address would be).
  std::uint64_t id() const { return id_; }
  std::uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  ~Storage() override;

  void* data_;
  std::size_t bytes_;
  Device device_;
  CachingAllocator* allocator_;  ///< where the bytes go back to; null: foreign
  std::atomic<std::uint32_t> version_{0};
  std::uint64_t id_;
  std::function<void()> deleter_;
};

using StoragePtr = IntrusivePtr<Storage>;

}  // namespace invar
