#include <invar/nn/optim/sgd.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {

SGD::SGD(const std::vector<Group>& groups) : OptimizerOf("SGD", groups) {
  for (const SGDOptions& o : options_) {
    check(o.lr >= 0 && o.momentum >= 0 && o.weight_decay >= 0, "SGD",
          "expected lr, momentum and weight_decay of at least 0, got {}, {} and {}", o.lr,
          o.momentum, o.weight_decay);
    check(!o.nesterov || (o.momentum > 0 && o.dampening == 0), "SGD",
          "expected momentum and no dampening with Nesterov, got {} and {}", o.momentum,
          o.dampening);
  }
}

std::vector<std::string> SGD::buffer_names(std::size_t group) const {
  if (options_[group].momentum == 0) return {};
  return {"momentum_buffer"};
}

void SGD::update(const std::vector<Update>& updates) {
  std::vector<SgdStep> steps;
  for (const Update& u : updates) {
    steps.push_back({.lr = u.options.lr,
                     .momentum = u.options.momentum,
                     .dampening = u.options.dampening,
                     .weight_decay = u.options.weight_decay,
                     .nesterov = u.options.nesterov,
                     .first = u.fresh});
  }
  sgd_step_(parameters(updates), gradients(updates), buffers(updates, 0), steps);
}

}  // namespace invar::nn
