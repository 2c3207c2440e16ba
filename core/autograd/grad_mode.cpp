#include <invar/core/autograd/grad_mode.hpp>

namespace invar {
namespace {

thread_local bool recording = true;
thread_local bool hunting = false;

}  // namespace

bool grad_enabled() { return recording; }
bool anomaly_enabled() { return hunting; }

GradMode::GradMode(bool enabled) : ScopedValue(recording, enabled) {}
AnomalyMode::AnomalyMode() : ScopedValue(hunting, true) {}

void check_in_place(const Tensor& target, bool operand_requires_grad, std::string_view op) {
  for (int d = 0; d < target.dim(); ++d) {
    check(target.shape()[d] <= 1 || target.strides()[d] != 0, op,
          "expected a target whose elements lie apart, got shape {} with strides {}: clone() what "
          "was expanded before writing to it",
          target.shape(), target.strides());
  }
  if (!recording) return;
  const std::string_view out_of_place = op.substr(0, op.size() - 1);
  check(!target.requires_grad(), op,
        "expected a target without history, got {} of shape {} that requires grad: use {}, which "
        "returns a new tensor, or write under NoGrad",
        target.is_leaf() ? "a leaf" : "a result", target.shape(), out_of_place);
  check(!operand_requires_grad, op,
        "expected operands without history, got one that requires grad: use {}, which records the "
        "operation, or write under NoGrad",
        out_of_place);
}

}  // namespace invar
