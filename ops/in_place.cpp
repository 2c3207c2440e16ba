#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/in_place.hpp>

namespace invar {

void check_in_place(const Tensor& target, bool operand_requires_grad, std::string_view op,
                    std::string_view instead) {
  for (int d = 0; d < target.dim(); ++d) {
    check(target.numel() == 0 || target.shape()[d] <= 1 || target.strides()[d] != 0, op,
          "expected a target whose elements lie apart, got shape {} with strides {}: clone() what "
          "was expanded before writing to it",
          target.shape(), target.strides());
  }
  if (!grad_enabled()) return;
  if (!target.requires_grad() && !operand_requires_grad) return;
  const std::string hint = instead.empty()
                               ? "write under NoGrad"
                               : fmt::format(
                                     "use {}, which returns a new tensor and is recorded, or write "
                                     "under NoGrad",
                                     instead);
  if (target.requires_grad()) {
    fail(op, "expected a target without history, got {} of shape {} that requires grad: {}",
         target.is_leaf() ? "a leaf" : "a result", target.shape(), hint);
  }
  fail(op, "expected operands without history, got one that requires grad: {}", hint);
}

}  // namespace invar
