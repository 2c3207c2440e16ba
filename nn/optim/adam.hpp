#pragma once
// Adam (Kingma, Ba 2015) and AdamW (Loshchilov, Hutter 2019), as in PyTorch without amsgrad. For
// each parameter p with gradient g, t its step count from 1:
//
//   AdamW: p = (1 - lr weight_decay) p        Adam: g = g + weight_decay p
//   m = beta1 m + (1 - beta1) g
//   v = beta2 v + (1 - beta2) g^2
//   p = p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
#include <array>
#include <invar/nn/optim/optimizer.hpp>

namespace invar::nn {

struct AdamOptions {
  static constexpr const char* kName = "Adam";
  static constexpr bool kDecoupledDecay = false;
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
};

struct AdamWOptions {
  static constexpr const char* kName = "AdamW";
  static constexpr bool kDecoupledDecay = true;
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

template <class Options>
class AdamOf : public OptimizerOf<Options> {
 public:
  using Group = ParameterGroup<Options>;
  explicit AdamOf(const std::vector<Group>& groups);
  AdamOf(const ParameterList& parameters, const Options& options)
      : AdamOf(std::vector<Group>{{parameters, options}}) {}

 protected:
  using Update = typename OptimizerOf<Options>::Update;
  void update(const std::vector<Update>& updates) override;
  std::vector<std::string> buffer_names(std::size_t group) const override;
};

using Adam = AdamOf<AdamOptions>;
using AdamW = AdamOf<AdamWOptions>;

}  // namespace invar::nn
