#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/ema.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {
namespace {

/// Calls f(average, model) for each pair of tensors of the same name.
template <class F>
void for_pairs(const std::vector<NamedTensor>& averages, const std::vector<NamedTensor>& models,
               const F& f) {
  check(averages.size() == models.size(), "ema_update_",
        "expected models with the same members, got {} and {} tensors", averages.size(),
        models.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    check(averages[i].name == models[i].name, "ema_update_",
          "expected models with the same members, got '{}' and '{}'", averages[i].name,
          models[i].name);
    f(averages[i].tensor, models[i].tensor.detach());
  }
}

}  // namespace

void ema_update_(Module& average, const Module& model, double decay) {
  NoGrad guard;
  for_pairs(average.named_parameters(), model.named_parameters(),
            [decay](const Tensor& a, const Tensor& p) { lerp_(a, p, 1 - decay); });
  for_pairs(average.named_buffers(), model.named_buffers(),
            [](const Tensor& a, const Tensor& b) { copy_(a, b); });
}

}  // namespace invar::nn
