#include <invar/nn/optim/adam.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {

template <class Options>
AdamOf<Options>::AdamOf(const std::vector<Group>& groups)
    : OptimizerOf<Options>(Options::kName, groups) {
  for (const Options& o : this->options_) {
    check(o.lr >= 0 && o.eps >= 0 && o.weight_decay >= 0, Options::kName,
          "expected lr, eps and weight_decay of at least 0, got {}, {} and {}", o.lr, o.eps,
          o.weight_decay);
    for (double beta : o.betas) {
      check(beta >= 0 && beta < 1, Options::kName, "expected betas in [0, 1), got {} and {}",
            o.betas[0], o.betas[1]);
    }
  }
}

template <class Options>
std::vector<std::string> AdamOf<Options>::buffer_names(std::size_t) const {
  return {"exp_avg", "exp_avg_sq"};
}

template <class Options>
void AdamOf<Options>::update(const std::vector<Update>& updates) {
  std::vector<AdamStep> steps;
  for (const Update& u : updates) {
    steps.push_back({.lr = u.options.lr,
                     .beta1 = u.options.betas[0],
                     .beta2 = u.options.betas[1],
                     .eps = u.options.eps,
                     .weight_decay = u.options.weight_decay,
                     .decoupled = Options::kDecoupledDecay,
                     .count = u.count});
  }
  adam_step_(this->parameters(updates), this->gradients(updates), this->buffers(updates, 0),
             this->buffers(updates, 1), steps);
}

template class AdamOf<AdamOptions>;
template class AdamOf<AdamWOptions>;

}  // namespace invar::nn
