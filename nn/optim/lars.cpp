#include <invar/nn/optim/lars.hpp>

namespace invar::nn {

LARS::LARS(const std::vector<Group>& groups) : OptimizerOf("LARS", groups) {
  for (const LARSOptions& o : options_) {
    check(o.lr >= 0 && o.momentum >= 0 && o.weight_decay >= 0 && o.eta > 0, "LARS",
          "expected lr, momentum and weight_decay of at least 0 and eta above, got {}, {}, {} and "
          "{}",
          o.lr, o.momentum, o.weight_decay, o.eta);
    check(o.variant != LarsVariant::none, "LARS",
          "expected the official or the clipped variant, got none: that is SGD");
  }
}

std::vector<std::string> LARS::buffer_names(std::size_t) const { return {"momentum_buffer"}; }

void LARS::update(const std::vector<Update>& updates) {
  std::vector<SgdStep> steps;
  for (const Update& u : updates) {
    const LARSOptions& o = u.options;
    SgdStep step{.lr = o.lr, .momentum = o.momentum, .first = u.fresh};
    if (u.parameter.dim() != 1 || !o.exclude_1d) {
      step.weight_decay = o.weight_decay;
      step.lars = o.variant;
      step.eta = o.eta;
    }
    steps.push_back(step);
  }
  const Tensors p = parameters(updates), g = gradients(updates);
  sgd_step_(p, g, buffers(updates, 0), steps, lars_norms(p, g, steps));
}

}  // namespace invar::nn
