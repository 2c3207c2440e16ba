#pragma once
// The launch shapes of the GPU's own kernels. What a kernel computes is a functor of ops/functors/,
// which runs on the CPU as well; here is how threads are given to it:
//
//   for_each (primitives.cuh)      f(i) for every i, a thread each
//   elementwise (elementwise.cuh)  out[i] = f(in[i]...) over strided, broadcasting operands
//   fold                           many values to few (functors/fold.hpp)
//
// Everything goes to the current stream of the tensors' GPU. No kernel adds to memory that another
// thread adds to: the same inputs give the same bits.
//
// Nothing but primitives.cuh and cub.cu is CUDA's own language. tests/cuda/emulated replaces these
// two and runs all the rest on a CPU, thread after thread.
#include <invar/ops/cuda/primitives.cuh>

namespace invar::cuda {

/// Memory for the duration of a call: what reuses it is started later, on the same stream.
template <class T>
class Scratch {
 public:
  Scratch(const Tensor& like, std::int64_t n)
      : bytes_(empty({n * static_cast<std::int64_t>(sizeof(T))},
                     {.dtype = DType::u8, .device = like.device()})) {}
  T* data() const { return static_cast<T*>(bytes_.raw_data()); }

 private:
  Tensor bytes_;
};

template <class F>
void fold(const char* op, const Tensor& like, const functors::FoldPlan& plan, const F& f) {
  if (plan.outputs == 0) return;
  if (plan.pieces == 1) return fold_once<F>(op, like, plan, f, nullptr);
  const Scratch<typename F::State> partial(like, plan.pieces * plan.outputs);
  fold_once(op, like, plan, f, partial.data());
  const auto merge = functors::merge_states(f, partial.data());
  fold_once(op, like, functors::plan_merge(plan, functors::kFoldWidth<F>), merge, nullptr);
}

}  // namespace invar::cuda
