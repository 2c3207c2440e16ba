#include <invar/core/cuda/runtime.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/pending_copy.hpp>

namespace invar {

PendingCopy::PendingCopy(const Tensor& x) {
  const Tensor dense = contiguous(x.detach());
  if (dense.device() == kCpu) {
    values_ = clone(dense);
    return;
  }
  values_ = empty_pinned_like(dense);
  cuda::copy_to_pinned(values_.storage(), dense.raw_data(), dense.device(),
                       static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype()));
  done_ = std::make_unique<cuda::Event>(dense.device());
  done_->record();
}

PendingCopy::~PendingCopy() {
  try {
    get();
  } catch (...) {  // NOLINT(bugprone-empty-catch): a GPU that failed; its next user is told
  }
}

const Tensor& PendingCopy::get() const {
  if (done_) done_->synchronize();
  return values_;
}

}  // namespace invar
