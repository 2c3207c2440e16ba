#include <invar/core/cuda/runtime.hpp>
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

}  // namespace invar::cuda
