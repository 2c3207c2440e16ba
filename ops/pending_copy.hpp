#pragma once
// PendingCopy: a tensor's values on their way to the CPU.
//
//   const PendingCopy loss(output.loss);        starts the copy and returns
//   ...                                         the GPU computes, this thread goes on
//   if (loss.ready()) log(loss.get().item());   get() waits if need be
//
// Whoever asks for item() waits until the GPU has done all that it was given; who asks some steps
// later need not wait.
#include <invar/core/cuda/stream.hpp>
#include <invar/core/tensor.hpp>
#include <memory>

namespace invar {

class PendingCopy {
 public:
  /// Of the values that x has when the work so far is done.
  explicit PendingCopy(const Tensor& x);
  /// Waits: the GPU still writes.
  ~PendingCopy();
  PendingCopy(PendingCopy&&) = default;
  PendingCopy& operator=(PendingCopy&&) = delete;

  /// True iff get() does not wait.
  bool ready() const { return !done_ || done_->query(); }
  /// On the CPU.
  const Tensor& get() const;

 private:
  Tensor values_;
  std::unique_ptr<cuda::Event> done_;  ///< null on the CPU
};

}  // namespace invar
