#pragma once
// Shared ownership with the count inside the object: a handle is one pointer, and copying it never
// allocates. Used for the three things a graph is made of: storages, tensors and nodes.
#include <atomic>
#include <cstdint>
#include <invar/core/object_pool.hpp>
#include <utility>

namespace invar {

class RefCounted : public Pooled {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  std::uint32_t use_count() const { return count_.load(std::memory_order_relaxed); }

 protected:
  virtual ~RefCounted() = default;
  /// Called when the last handle is gone. Overridden by Node, which must not recurse.
  virtual void dispose() { delete this; }

 private:
  template <class T>
  friend class IntrusivePtr;
  void add_ref() { count_.fetch_add(1, std::memory_order_relaxed); }
  bool revive() {
    std::uint32_t count = count_.load(std::memory_order_relaxed);
    while (count > 0 && !count_.compare_exchange_weak(count, count + 1)) {
    }
    return count > 0;
  }
  void drop_ref() {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) dispose();
  }
  std::atomic<std::uint32_t> count_{0};
};

template <class T>
class IntrusivePtr {
 public:
  IntrusivePtr() = default;
  IntrusivePtr(std::nullptr_t) {}
  explicit IntrusivePtr(T* object) : object_(object) {
    if (object_) object_->add_ref();
  }
  IntrusivePtr(const IntrusivePtr& other) : IntrusivePtr(other.object_) {}
  IntrusivePtr(IntrusivePtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <class U>
  requires std::is_convertible_v<U*, T*> IntrusivePtr(const IntrusivePtr<U>& other)
      : IntrusivePtr(static_cast<T*>(other.get())) {}
  IntrusivePtr& operator=(IntrusivePtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~IntrusivePtr() {
    if (object_) object_->drop_ref();
  }

  /// A handle to an object that is not owned, unless its last handle is gone. Whoever calls sees to
  /// it that the object's destructor has not ended.
  static IntrusivePtr of_alive(T* object) {
    IntrusivePtr alive;
    if (object && object->revive()) alive.object_ = object;
    return alive;
  }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  bool operator==(const IntrusivePtr& other) const { return object_ == other.object_; }

 private:
  T* object_ = nullptr;
};

template <class T, class... Args>
IntrusivePtr<T> make_intrusive(Args&&... args) {
  return IntrusivePtr<T>(new T(std::forward<Args>(args)...));
}

}  // namespace invar
