#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/error.hpp>

namespace invar::cuda {
namespace {

[[noreturn]] void fail_absent() {
  fail("cuda",
       "expected device cpu, got cuda: this build has no CUDA; configure with the preset "
       "cuda");
}

}  // namespace

bool is_built() { return false; }
int device_count() { return 0; }
CachingAllocator& allocator(int) { fail_absent(); }
void copy_bytes(void*, Device, const void*, Device, std::size_t) { fail_absent(); }
void copy_from_pinned(void*, Device, const StoragePtr&, std::size_t, std::size_t) { fail_absent(); }
void copy_to_pinned(const StoragePtr&, const void*, Device, std::size_t) { fail_absent(); }
StoragePtr pinned_storage(std::size_t) { fail_absent(); }
bool is_pinned(const Storage&) { return false; }
void begin_recording(int) { fail_absent(); }
Recording* end_recording(int) { fail_absent(); }
void check_not_recording(const char*) {}
void abandon_recording(int) noexcept {}
void start(Recording*, int) { fail_absent(); }
void destroy(Recording*) noexcept {}
CachingAllocator* make_allocator(int) { fail_absent(); }
CachingAllocator* exchange_allocator(int, CachingAllocator*) { fail_absent(); }

// There is no Stream and no Event without CUDA: making one throws.
CUstream_st* current_stream(int) { fail_absent(); }
void synchronize(Device) { fail_absent(); }
Stream::Stream(Device) { fail_absent(); }
Stream::~Stream() = default;
StreamScope::StreamScope(const Stream&) { fail_absent(); }
StreamScope::~StreamScope() = default;
Event::Event(Device, bool) { fail_absent(); }
Event::~Event() = default;
void Event::record() { fail_absent(); }
void Event::wait() const { fail_absent(); }
bool Event::query() const { fail_absent(); }
void Event::synchronize() const { fail_absent(); }
double Event::milliseconds_until(const Event&) const { fail_absent(); }

}  // namespace invar::cuda
