#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>
#include <cub/device/device_select.cuh>
#include <invar/ops/cuda/cub.hpp>
#include <invar/ops/cuda/launch.cuh>

namespace invar::cuda {
namespace {

/// Calls run(memory, bytes) twice, as CUB wants it: it asks for memory, then it gets it.
template <class F>
void with_memory(const char* op, const Tensor& like, const F& run) {
  std::size_t bytes = 0;
  check_cuda(run(nullptr, bytes), op);
  const Scratch<char> memory(like, static_cast<std::int64_t>(bytes));
  check_cuda(run(memory.data(), bytes), op);
}

/// Where line i begins.
struct LineStart {
  std::int64_t n;
  INVAR_HD std::int64_t operator()(std::int64_t i) const { return i * n; }
};

}  // namespace

// A radix sort. One line is sorted by the whole GPU, each of several by one block of threads.
void sort_pairs(const Tensor& like, std::uint64_t* keys, std::int64_t* numbers, std::int64_t lines,
                std::int64_t n, int bits) {
  const std::int64_t count = lines * n;
  if (count == 0) return;
  const Scratch<std::uint64_t> other_keys(like, count);
  const Scratch<std::int64_t> other_numbers(like, count);
  cub::DoubleBuffer<std::uint64_t> all_keys(keys, other_keys.data());
  cub::DoubleBuffer<std::int64_t> all_numbers(numbers, other_numbers.data());
  const cudaStream_t stream = stream_of(like);
  with_memory("sort", like, [&](void* memory, std::size_t& bytes) {
    if (lines == 1) {
      return cub::DeviceRadixSort::SortPairs(memory, bytes, all_keys, all_numbers, count, 0, bits,
                                             stream);
    }
    const auto starts = thrust::make_transform_iterator(
        thrust::make_counting_iterator<std::int64_t>(0), LineStart{n});
    return cub::DeviceSegmentedRadixSort::SortPairs(
        memory, bytes, all_keys, all_numbers, static_cast<int>(count), static_cast<int>(lines),
        starts, starts + 1, 0, bits, stream);
  });
  const auto bring_back = [&](void* to, const void* from, std::size_t size) {
    if (to == from) return;
    check_cuda(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream), "sort");
  };
  bring_back(keys, all_keys.Current(), static_cast<std::size_t>(count) * sizeof(*keys));
  bring_back(numbers, all_numbers.Current(), static_cast<std::size_t>(count) * sizeof(*numbers));
}

void find_true(const Tensor& mask, std::int64_t* places, std::int64_t* count) {
  with_memory("nonzero", mask, [&](void* memory, std::size_t& bytes) {
    return cub::DeviceSelect::Flagged(
        memory, bytes, thrust::make_counting_iterator<std::int64_t>(0), mask.data<const bool>(),
        places, count, mask.numel(), stream_of(mask));
  });
}

}  // namespace invar::cuda
