#pragma once
// The launches of ops/cuda/primitives.cuh, thread after thread. Backwards: what relies on an order
// among threads gives other numbers than the CPU.
#include <array>
#include <cstring>
#include <invar/core/cuda/stream.hpp>
#include <invar/ops/functors/fold.hpp>
#include <vector>

#include "../../../device.hpp"

namespace invar::cuda {

template <class F>
void for_each(const char*, const Tensor&, std::int64_t n, const F& f) {
  run_on_device([=] {
    for (std::int64_t i = n - 1; i >= 0; --i) f(i);
  });
}

template <class F>
void fold_in_turn(const functors::FoldPlan& plan, const F& f, typename F::State* partial) {
  std::vector<typename F::State> states(functors::kFoldThreads);
  const auto for_threads = [](const auto& run) {
    for (int thread = functors::kFoldThreads - 1; thread >= 0; --thread) run(thread);
  };
  for (std::int64_t block = plan.blocks() - 1; block >= 0; --block) {
    for (std::int64_t piece = plan.pieces - 1; piece >= 0; --piece) {
      for_threads([&](int thread) {
        const int slot = plan.slot_of(plan.lane_of(thread), plan.row_of(thread));
        states[static_cast<std::size_t>(slot)] =
            functors::fold_share(f, plan, block, piece, thread);
      });
      for (int half = plan.rows() / 2; half > 0; half /= 2) {
        for_threads(
            [&](int thread) { functors::fold_pairs(f, plan, states.data(), half, thread); });
      }
      for_threads([&](int thread) {
        functors::fold_finish(f, plan, states.data(), block, piece, thread, partial);
      });
    }
  }
}

template <class F>
void fold_once(const char*, const Tensor&, const functors::FoldPlan& plan, const F& f,
               typename F::State* partial) {
  run_on_device([=] { fold_in_turn(plan, f, partial); });
}

template <class T, std::size_t N>
std::array<T, N> read_back(const char*, const Tensor& like, const T* data) {
  synchronize(like.device());
  const OnDevice now;
  std::array<T, N> values;
  std::memcpy(values.data(), data, sizeof(values));
  return values;
}

}  // namespace invar::cuda
