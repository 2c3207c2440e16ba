#include <array>
#include <cstdint>
#include <invar/core/object_pool.hpp>
#include <new>

namespace invar {
namespace {

constexpr std::size_t kStep = 32;
constexpr std::uint32_t kMaxKept = 1024;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPooling = false;
#else
constexpr bool kPooling = true;
#endif

struct FreeBlock {
  FreeBlock* next;
};

/// Trivially destructible: it may be used until the very end of the thread.
struct FreeList {
  FreeBlock* first;
  std::uint32_t count;
};

enum class State : std::uint8_t { unused, open, closed };

thread_local constinit std::array<FreeList, kMaxPooled / kStep> lists{};
thread_local constinit State state = State::unused;

struct GiveBack {
  GiveBack() { state = State::open; }
  ~GiveBack() {
    state = State::closed;
    for (FreeList& list : lists) {
      while (list.first) {
        FreeBlock* const block = list.first;
        list.first = block->next;
        ::operator delete(block);
      }
      list.count = 0;
    }
  }
};

/// True iff this thread still keeps free blocks.
bool keeps_blocks() {
  if (state == State::open) [[likely]]
    return true;
  if (state == State::unused) thread_local GiveBack at_exit;
  return state == State::open;
}

std::size_t class_of(std::size_t bytes) { return (bytes - 1) / kStep; }

}  // namespace

void* pool_allocate(std::size_t bytes) {
  if (!kPooling || bytes - 1 >= kMaxPooled) return ::operator new(bytes);
  FreeList& list = lists[class_of(bytes)];
  if (!list.first) return ::operator new((class_of(bytes) + 1) * kStep);
  FreeBlock* const block = list.first;
  list.first = block->next;
  --list.count;
  return block;
}

void pool_release(void* block, std::size_t bytes) noexcept {
  if (!kPooling || bytes - 1 >= kMaxPooled) return ::operator delete(block);
  FreeList& list = lists[class_of(bytes)];
  if (!keeps_blocks() || list.count == kMaxKept) return ::operator delete(block);
  list.first = new (block) FreeBlock{list.first};
  ++list.count;
}

}  // namespace invar
