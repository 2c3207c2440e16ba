#pragma once
// SGD: stochastic gradient descent with momentum, as in PyTorch. For each parameter p with gradient
// g:
//
//   d = g + weight_decay p
//   m = d at the first step, then momentum m + (1 - dampening) d       (if momentum is not 0)
//   d = d + momentum m with Nesterov, else m
//   p = p - lr d
#include <invar/nn/optim/optimizer.hpp>

namespace invar::nn {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;  ///< needs momentum and no dampening
};

class SGD : public OptimizerOf<SGDOptions> {
 public:
  explicit SGD(const std::vector<Group>& groups);
  SGD(const ParameterList& parameters, const SGDOptions& options)
      : SGD(std::vector<Group>{{parameters, options}}) {}

 protected:
  void update(const std::vector<Update>& updates) override;
  std::vector<std::string> buffer_names(std::size_t group) const override;
};

}  // namespace invar::nn
