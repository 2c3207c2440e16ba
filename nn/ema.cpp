#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/modules.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::nn {
namespace {

/// The tensors of both, those of the same name at the same place.
std::pair<Tensors, Tensors> pairs(const std::vector<NamedTensor>& averages,
                                  const std::vector<NamedTensor>& models) {
  check(averages.size() == models.size(), "ema_update_",
        "expected models with the same members, got {} and {} tensors", averages.size(),
        models.size());
  std::pair<Tensors, Tensors> both;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const Tensor &a = averages[i].tensor, &m = models[i].tensor;
    check(averages[i].name == models[i].name && a.dtype() == m.dtype() && a.shape() == m.shape(),
          "ema_update_", "expected models with the same members, got '{}' {} {} and '{}' {} {}",
          averages[i].name, a.dtype(), a.shape(), models[i].name, m.dtype(), m.shape());
    both.first.push_back(averages[i].tensor);
    both.second.push_back(models[i].tensor.detach());
  }
  return both;
}

/// Batch-norms that average over all batches, in train mode, for the duration of a scope.
class AveragingBatchNorms {
 public:
  explicit AveragingBatchNorms(Module& model) : training_(model, /*train=*/true) {
    for (const auto& [name, module] : model.named_modules()) {
      auto* norm = dynamic_cast<BatchNorm*>(module);
      if (!norm || !norm->running_mean.defined()) continue;
      momenta_.emplace_back(norm, norm->momentum);
      norm->reset_running_stats();
      norm->momentum = std::nullopt;
    }
  }
  ~AveragingBatchNorms() {
    for (auto& [norm, momentum] : momenta_) norm->momentum = momentum;
  }
  AveragingBatchNorms(const AveragingBatchNorms&) = delete;
  AveragingBatchNorms& operator=(const AveragingBatchNorms&) = delete;

 private:
  ModeScope training_;
  std::vector<std::pair<BatchNorm*, std::optional<double>>> momenta_;
};

}  // namespace

void ema_update_(Module& average, const Module& model, double decay) {
  check(decay >= 0 && decay <= 1, "ema_update_", "expected a decay in [0, 1], got {}", decay);
  NoGrad guard;
  const auto [averages, models] = pairs(average.named_parameters(), model.named_parameters());
  const auto [copies, buffers] = pairs(average.named_buffers(), model.named_buffers());
  lerp_(averages, models, 1 - decay);
  for (std::size_t i = 0; i < copies.size(); ++i) copy_(copies[i], buffers[i]);
}

void update_bn(Module& model, const std::function<Tensor()>& next_batch) {
  NoGrad guard;
  AveragingBatchNorms averaging(model);
  for (Tensor batch = next_batch(); batch.defined(); batch = next_batch()) model(batch);
}

}  // namespace invar::nn
