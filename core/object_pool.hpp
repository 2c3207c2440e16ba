#pragma once
// The memory of small objects: storages, tensors, nodes and the short lists inside them. An
// operation on small tensors makes about ten of them, so malloc would be most of what it costs.
//
//   - Free blocks are kept in lists by thread and size (multiples of 32 bytes, at most kMaxPooled);
//     larger blocks go straight to operator new.
//   - A list is bounded: what one thread makes and another one frees does not pile up there.
//   - A thread that ends gives its lists back. Objects in static variables may die after that:
//     their memory goes straight to operator delete.
//   - With AddressSanitizer there are no lists, so that it sees every use after free.
#include <cstddef>

namespace invar {

inline constexpr std::size_t kMaxPooled = 512;

void* pool_allocate(std::size_t bytes);
/// `bytes` as given to pool_allocate; any thread may release a block.
void pool_release(void* block, std::size_t bytes) noexcept;

/// Base of classes whose objects live in the pool.
class Pooled {
 public:
  static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* block, std::size_t bytes) { pool_release(block, bytes); }
};

/// For the standard containers.
template <class T>
struct PoolAllocator {
  using value_type = T;

  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}

  T* allocate(std::size_t n) { return static_cast<T*>(pool_allocate(n * sizeof(T))); }
  void deallocate(T* block, std::size_t n) { pool_release(block, n * sizeof(T)); }
  bool operator==(const PoolAllocator&) const { return true; }
};

}  // namespace invar
