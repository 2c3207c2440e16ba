#pragma once
// Graph: work on a GPU that is recorded once and then started as a whole, by one call in the place
// of one per kernel.
//
//   cuda::Graph graph(gpu);
//   graph.record([&] { y = f(x); });     // recorded, not done: y has no values yet
//   for (;;) {
//     copy_(x, next());                  // other values at the same address
//     graph.replay();                    // y = f(x)
//   }
//
// What is recorded is work at addresses, with the numbers that the host had at that time:
//
//   - Memory that is allocated while recording is the graph's own until it is destroyed; what lies
//     in it afterwards (y) is overwritten by every replay.
//   - Whatever is read has to be where it was, so inputs come from outside and are overwritten.
//   - A number that the host decides (a rate, a step count) stays what it was: what depends on one
//     does not belong into a graph. The exception are random numbers of default_generator(): those
//     of a replay are the ones that a call of f would have drawn, and the generator moves on.
//   - Work that waits for the GPU (item(), the check of indices, factorisations) is an Error.
//   - What f does on the host is done once. A replay moves no version counter: bump_version() those
//     tensors from outside that f writes (nn/step_graph.hpp does all of this for a training step).
//
// Threads: a graph is recorded and replayed by one thread; what others do meanwhile is not
// recorded.
#include <cstdint>
#include <functional>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/tensor.hpp>

namespace invar::cuda {

class Graph {
 public:
  explicit Graph(Device gpu);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Calls f. If that throws, nothing is recorded. Once per graph.
  void record(const std::function<void()>& f);
  /// Starts the work on the current stream and returns at once.
  void replay();

 private:
  Device gpu_;
  CachingAllocator* pool_;  // never destroyed: tensors may outlive the graph
  Recording* recording_ = nullptr;
  Tensor random_;                           // i64 [1]: where the random numbers of a replay begin
  std::uint64_t seed_ = 0, positions_ = 0;  // ... and how many positions it takes
};

/// Where a random kernel finds its offset. While a graph is recorded: `offset` after what then lies
/// at `base`; otherwise `base` is null. Error if the numbers are not default_generator()'s.
struct RandomOffset {
  const std::uint64_t* base;
  std::uint64_t offset;
};
RandomOffset random_offset(std::uint64_t seed, std::uint64_t offset);

}  // namespace invar::cuda
