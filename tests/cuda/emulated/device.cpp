#include "device.hpp"

#include <sys/mman.h>

#include <cstring>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/error.hpp>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace invar::cuda {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 30;
constexpr std::size_t kHugePage = std::size_t{2} << 20;  // few pages: rights are changed quickly

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// One stretch of addresses.
struct Memory {
  char* begin;
  std::size_t taken = 0;
  std::multimap<std::size_t, void*> given_back;
  int users = 0;

  Memory() {
    void* const found = mmap(nullptr, kBytes + kHugePage, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    internal_check(found != MAP_FAILED, "emulated", "no addresses");
    const auto address = reinterpret_cast<std::size_t>(found);
    begin = static_cast<char*>(found) + (round_up(address, kHugePage) - address);
    madvise(begin, kBytes, MADV_HUGEPAGE);  // advice: failure changes nothing
  }
  void* take(std::size_t bytes) {
    const std::size_t rounded = round_up(bytes, 512);
    if (const auto used = given_back.find(rounded); used != given_back.end()) {
      return given_back.extract(used).mapped();
    }
    if (taken + rounded > kBytes) return nullptr;
    void* const block = begin + std::exchange(taken, taken + rounded);
    if (users > 0) protect(PROT_READ | PROT_WRITE);
    return block;
  }
  void give_back(void* block, std::size_t bytes) {
    given_back.emplace(round_up(bytes, 512), block);
  }
  void protect(int rights) const { mprotect(begin, round_up(taken, kHugePage), rights); }
};

Memory& memory() {
  static auto* const made = new Memory;
  return *made;
}

void check_index(int index) {
  check(index == 0, "cuda", "expected one of 1 GPUs, got cuda:{}", index);
}

}  // namespace

OnDevice::OnDevice() {
  if (memory().users++ == 0) memory().protect(PROT_READ | PROT_WRITE);
}

OnDevice::~OnDevice() {
  if (--memory().users == 0) memory().protect(PROT_NONE);
}

bool is_built() { return true; }
int device_count() { return 1; }

namespace {

CachingAllocator* own_allocator = nullptr;
std::unique_ptr<Recording> being_recorded;

}  // namespace

void check_not_recording(const char* what) {
  check(!being_recorded, "graph", "expected work that can be recorded, got {}", what);
}

CachingAllocator* make_allocator(int index) {
  check_index(index);
  return new CachingAllocator(
      {.allocate = [](std::size_t bytes) { return memory().take(bytes); },
       .release = [](void* block, std::size_t bytes) { memory().give_back(block, bytes); },
       .available = [] { return kBytes - memory().taken; }});
}

CachingAllocator* exchange_allocator(int, CachingAllocator* own) {
  return std::exchange(own_allocator, own);
}

CachingAllocator& allocator(int index) {
  static auto* const made = make_allocator(index);
  check_index(index);
  return own_allocator ? *own_allocator : *made;
}

// --- graphs: the kernels of a recording, to be run again

struct Recording {
  std::vector<std::function<void()>> kernels;
};

void run_on_device(std::function<void()> work) {
  if (being_recorded) return being_recorded->kernels.push_back(std::move(work));
  const OnDevice now;
  work();
}

void begin_recording(int) { being_recorded = std::make_unique<Recording>(); }
Recording* end_recording(int) { return being_recorded.release(); }
void abandon_recording(int) noexcept { being_recorded.reset(); }
void destroy(Recording* recording) noexcept { delete recording; }
void start(Recording* recording, int) {
  const OnDevice now;
  for (const auto& kernel : recording->kernels) kernel();
}

// --- copies

void copy_bytes(void* to, Device, const void* from, Device, std::size_t bytes) {
  check_not_recording("a copy between CPU and GPU");
  const OnDevice now;
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void copy_to_pinned(const StoragePtr& pinned, const void* from, Device, std::size_t bytes) {
  copy_bytes(pinned->data(), {}, from, {}, bytes);
}

void copy_from_pinned(void* to, Device, const StoragePtr& pinned, std::size_t offset,
                      std::size_t bytes) {
  copy_bytes(to, {}, static_cast<const char*>(pinned->data()) + offset, {}, bytes);
}

namespace {

constexpr std::size_t kPinnedMark = 4096;  // sizes of pinned storages are multiples, no others are

}  // namespace

StoragePtr pinned_storage(std::size_t bytes) {
  const std::size_t marked = (bytes / kPinnedMark + 1) * kPinnedMark;
  char* const data = new char[marked];
  return make_intrusive<Storage>(data, marked, kCpu, [=] { delete[] data; });
}

bool is_pinned(const Storage& storage) { return storage.bytes() % kPinnedMark == 0; }

// One stream, whose work is done when it is given.
CUstream_st* current_stream(int index) {
  check_index(index);
  return nullptr;
}
void synchronize(Device gpu) {
  check_index(gpu.index);
  check_not_recording("an operation that waits for the GPU");
}
Stream::Stream(Device gpu) : gpu_(gpu), stream_(nullptr) { check_index(gpu.index); }
Stream::~Stream() = default;
StreamScope::StreamScope(const Stream& stream) : gpu_(stream.device()), previous_(nullptr) {}
StreamScope::~StreamScope() = default;
Event::Event(Device gpu, bool) : gpu_(gpu), event_(nullptr) { check_index(gpu.index); }
Event::~Event() = default;
void Event::record() {}
void Event::wait() const {}
bool Event::query() const { return true; }
void Event::synchronize() const {}
double Event::milliseconds_until(const Event&) const { return 0; }

}  // namespace invar::cuda
