#include <invar/core/cuda/graph.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/error.hpp>
#include <invar/core/random.hpp>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

namespace invar::cuda {
namespace {

/// The random numbers of the recording that the thread is making.
struct RecordedRandom {
  const std::uint64_t* base;
  GeneratorState begin;
};
thread_local std::optional<RecordedRandom> recorded_random;

/// The memory of graphs that are gone, by GPU: tensors may have outlived them, so it is never
/// destroyed, but the next graph takes it over.
struct SparePools {
  std::mutex mutex;
  std::map<int, std::vector<CachingAllocator*>> of;
};
SparePools& spare_pools() {
  static auto& pools = *new SparePools;
  return pools;
}

CachingAllocator* take_pool(int gpu) {
  SparePools& spare = spare_pools();
  const std::lock_guard lock(spare.mutex);
  auto& pools = spare.of[gpu];
  if (pools.empty()) return make_allocator(gpu);
  CachingAllocator* const pool = pools.back();
  pools.pop_back();
  return pool;
}

void leave_pool(int gpu, CachingAllocator* pool) {
  SparePools& spare = spare_pools();
  const std::lock_guard lock(spare.mutex);
  spare.of[gpu].push_back(pool);
}

}  // namespace

RandomOffset random_offset(std::uint64_t seed, std::uint64_t offset) {
  if (!recorded_random) return {nullptr, offset};
  // Positions are reserved before the kernel that uses them is started.
  const GeneratorState now = default_generator().state();
  check(seed == recorded_random->begin.seed && offset >= recorded_random->begin.offset &&
            offset < now.offset,
        "graph",
        "expected random numbers of default_generator() while a graph is recorded, got those of "
        "another generator: they would be the same in every replay");
  return {recorded_random->base, offset - recorded_random->begin.offset};
}

Graph::Graph(Device gpu)
    : gpu_(gpu),
      pool_(take_pool(gpu.index)),
      random_(empty({1}, {.dtype = DType::i64, .device = gpu})) {}

Graph::~Graph() {
  if (recording_) destroy(recording_);
  pool_->keep_cache(false);
  pool_->empty_cache();
  leave_pool(gpu_.index, pool_);
}

void Graph::record(const std::function<void()>& f) {
  check(!recording_, "graph", "expected a new graph, got one that is recorded already");
  pool_->keep_cache(true);
  const GeneratorState begin = default_generator().state();
  const Stream stream(gpu_);  // the default stream cannot be recorded
  const StreamScope scope(stream);
  CachingAllocator* const outer = exchange_allocator(gpu_.index, pool_);
  recorded_random = {static_cast<const std::uint64_t*>(random_.raw_data()), begin};
  const auto leave = [&] {
    recorded_random.reset();
    exchange_allocator(gpu_.index, outer);
  };
  try {
    begin_recording(gpu_.index);
    f();
  } catch (...) {
    abandon_recording(gpu_.index);
    leave();
    default_generator().set_state(begin);
    throw;
  }
  leave();
  seed_ = begin.seed;
  positions_ = default_generator().state().offset - begin.offset;
  default_generator().set_state(begin);
  recording_ = end_recording(gpu_.index);
}

void Graph::replay() {
  check(recording_ != nullptr, "graph", "expected a graph that is recorded: call record()");
  if (positions_ > 0) {
    const GeneratorState now = default_generator().state();
    check(now.seed == seed_, "graph",
          "expected default_generator() with the seed {} that the graph was recorded with, got {}: "
          "record a new graph after manual_seed",
          seed_, now.seed);
    const StoragePtr pinned = pinned_storage(sizeof(now.offset));
    *static_cast<std::uint64_t*>(pinned->data()) = now.offset;
    copy_from_pinned(random_.raw_data(), gpu_, pinned, 0, sizeof(now.offset));
    default_generator().set_state({now.seed, now.offset + positions_});
  }
  start(recording_, gpu_.index);
}

}  // namespace invar::cuda
