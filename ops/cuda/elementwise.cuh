#pragma once
// The launch of elementwise functors over strided, broadcasting operands, the GPU's counterpart of
// cpu/loops.hpp:
//
//   elementwise<float, float, float>(out, functors::Add{}, a, b);
//
// Neighbouring dimensions that all operands walk through without a jump are merged (LoopNest); if
// one dense run is left, each thread computes its element's place by nothing but an addition.
#include <invar/core/cuda/error.hpp>
#include <invar/ops/loop_nest.hpp>

namespace invar::cuda {

/// What a kernel must know of N operands; operand 0 is the output.
template <int N>
struct Operands {
  std::int64_t count;
  int dims;
  std::int64_t shape[kMaxDims];
  std::int64_t strides[N][kMaxDims];  ///< in elements
  void* data[N];

  /// The offsets of element i, in row-major order.
  __device__ void locate(std::int64_t i, std::int64_t (&offsets)[N]) const {
    for (int k = 0; k < N; ++k) offsets[k] = 0;
    for (int d = dims - 1; d >= 0; --d) {
      const std::int64_t at = i % shape[d];
      i /= shape[d];
      for (int k = 0; k < N; ++k) offsets[k] += at * strides[k][d];
    }
  }
};

template <class... Inputs>
Operands<1 + sizeof...(Inputs)> operands(const Tensor& out, const Inputs&... inputs) {
  constexpr int n = 1 + sizeof...(Inputs);
  const std::array<const Tensor*, n> tensors{&out, &inputs...};
  std::array<Dims, n> strides;
  for (int k = 0; k < n; ++k) strides[k] = broadcast_strides(*tensors[k], out.shape());
  const LoopNest<n> nest(out.shape(), strides);
  Operands<n> made{};
  made.count = out.numel();
  made.dims = nest.shape.size();
  for (int d = 0; d < made.dims; ++d) {
    made.shape[d] = nest.shape[d];
    for (int k = 0; k < n; ++k) made.strides[k][d] = nest.strides[k][d];
  }
  for (int k = 0; k < n; ++k) made.data[k] = tensors[k]->raw_data();
  return made;
}

constexpr int kThreads = 256;

/// out[i] = f(in[i]...)
template <class F, class Out, class... In, std::size_t... I>
__device__ void apply_at(const F& f, const Operands<1 + sizeof...(In)>& operands, std::int64_t i,
                         std::index_sequence<I...>) {
  std::int64_t offsets[1 + sizeof...(In)];
  operands.locate(i, offsets);
  static_cast<Out*>(operands.data[0])[offsets[0]] =
      f(static_cast<const In*>(operands.data[I + 1])[offsets[I + 1]]...);
}

template <class F, class Out, class... In>
__global__ void elementwise_kernel(F f, Operands<1 + sizeof...(In)> operands) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x;
       i < operands.count; i += step) {
    apply_at<F, Out, In...>(f, operands, i, std::index_sequence_for<In...>());
  }
}

/// Enough blocks for n elements, and no more than keep a large GPU busy: the kernels' loops stride.
inline unsigned blocks_for(std::int64_t n) {
  constexpr std::int64_t kMostBlocks = 132 * 16;
  return static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, kMostBlocks));
}

inline void use_device_of(const Tensor& x, const char* op) {
  check_cuda(cudaSetDevice(x.device().index), op);
}

template <class Out, class... In, class F, class... Inputs>
void elementwise(const Tensor& out, const F& f, const Inputs&... inputs) {
  static_assert(sizeof...(In) == sizeof...(Inputs));
  if (out.numel() == 0) return;
  use_device_of(out, "elementwise");
  elementwise_kernel<F, Out, In...>
      <<<blocks_for(out.numel()), kThreads>>>(f, operands(out, inputs...));
  check_cuda(cudaGetLastError(), "elementwise");
}

}  // namespace invar::cuda
