#pragma once
// LARS: momentum SGD whose step is scaled, tensor by tensor, by a ratio of norms (You, Gitman,
// Ginsburg 2017). For each parameter p with gradient g:
//
//   d = g + weight_decay p;  m = momentum m + q d;  p = p - lr m
//
//   LarsVariant::official   q = eta |p| / |d|, 1 where a norm is 0       (facebookresearch/vicreg)
//   LarsVariant::clipped    q = min(eta |p| / (|g| + weight_decay |p| + 1e-8) / lr, 1);
//                           where a norm is 0, neither decay nor scaling (solo-learn)
//
// Both leave parameters of one dimension (biases, batch-norm) without decay and scaling, and start
// the momentum at m = q d.
#include <invar/nn/optim/optimizer.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {

struct LARSOptions {
  double lr = 0.1;
  double momentum = 0.9;
  double weight_decay = 1e-6;
  double eta = 0.001;  ///< the trust coefficient
  LarsVariant variant = LarsVariant::official;
  bool exclude_1d = true;  ///< false: parameters of one dimension are treated like the others
};

class LARS : public OptimizerOf<LARSOptions> {
 public:
  explicit LARS(const std::vector<Group>& groups);
  LARS(const ParameterList& parameters, const LARSOptions& options)
      : LARS(std::vector<Group>{{parameters, options}}) {}

 protected:
  void update(const std::vector<Update>& updates) override;
  std::vector<std::string> buffer_names(std::size_t group) const override;
};

}  // namespace invar::nn
