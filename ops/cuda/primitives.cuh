#pragma once
// All that the own kernels ask of CUDA itself: two launches and a way back. tests/cuda/emulated has
// the same for a CPU.
#include <invar/core/cuda/error.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/integers.hpp>
#include <invar/ops/functors/fold.hpp>

namespace invar::cuda {

constexpr int kThreads = 256;

/// Enough blocks for n threads, and no more than keep a large GPU busy: the kernels' loops stride.
inline unsigned blocks_for(std::int64_t n) {
  constexpr std::int64_t kMostBlocks = 132 * 16;
  return static_cast<unsigned>(std::min(ceil_div(n, kThreads), kMostBlocks));
}

/// The stream that work on x goes to; its GPU becomes the current one.
inline cudaStream_t stream_of(const Tensor& x) { return current_stream(x.device().index); }

template <class F>
__global__ void for_each_kernel(const __grid_constant__ F f, std::int64_t n) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x; i < n;
       i += step) {
    f(i);
  }
}

/// f(i) for i in [0, n), in any order; `like` is a tensor on the GPU that is meant.
template <class F>
void for_each(const char* op, const Tensor& like, std::int64_t n, const F& f) {
  if (n == 0) return;
  for_each_kernel<<<blocks_for(n), kThreads, 0, stream_of(like)>>>(f, n);
  check_cuda(cudaGetLastError(), op);
}

template <class F>
__global__ void __launch_bounds__(functors::kFoldThreads, 2)  // blocks of a multiprocessor
    fold_kernel(const __grid_constant__ F f, const __grid_constant__ functors::FoldPlan plan,
                typename F::State* partial) {
  using State = typename F::State;
  __shared__ alignas(16) char memory[functors::kFoldThreads * sizeof(State)];
  State* const states = reinterpret_cast<State*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t block = blockIdx.x, piece = blockIdx.y;
  const State own = functors::fold_share(f, plan, block, piece, thread);
  states[plan.slot_of(plan.lane_of(thread), plan.row_of(thread))] = own;
  for (int half = plan.rows() / 2; half > 0; half /= 2) {
    __syncthreads();
    functors::fold_pairs(f, plan, states, half, thread);
  }
  __syncthreads();
  functors::fold_finish(f, plan, states, block, piece, thread, partial);
}

/// One level of a fold: `partial` holds its states if there are several pieces.
template <class F>
void fold_once(const char* op, const Tensor& like, const functors::FoldPlan& plan, const F& f,
               typename F::State* partial) {
  const dim3 grid(static_cast<unsigned>(plan.blocks()), static_cast<unsigned>(plan.pieces));
  fold_kernel<<<grid, functors::kFoldThreads, 0, stream_of(like)>>>(f, plan, partial);
  check_cuda(cudaGetLastError(), op);
}

/// Values for the host, once the stream has made them.
template <class T, std::size_t N>
std::array<T, N> read_back(const char* op, const Tensor& like, const T* data) {
  check_not_recording("an operation that waits for the GPU");
  std::array<T, N> values;
  check_cuda(
      cudaMemcpyAsync(values.data(), data, sizeof(values), cudaMemcpyDeviceToHost, stream_of(like)),
      op);
  synchronize(like.device());
  return values;
}

}  // namespace invar::cuda
