#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/node.hpp>
#include <invar/core/observer.hpp>
#include <invar/nn/step_graph.hpp>
#include <invar/ops/convert.hpp>

namespace invar::nn {
namespace {

/// Parameters and buffers.
Tensors tensors_of(const Module& module) {
  Tensors all = module.parameters();
  for (const NamedTensor& buffer : module.named_buffers()) all.push_back(buffer.tensor);
  return all;
}

bool has_hooks(const Tensor& parameter) {
  return parameter.requires_grad() && parameter.impl().autograd->sink->has_hooks();
}

}  // namespace

StepGraph::StepGraph(Module& module, Function function, int warm_up)
    : module_(module), function_(std::move(function)), warm_up_(warm_up) {
  check(warm_up >= 1, "StepGraph", "expected at least 1 call to warm up, got {}", warm_up);
}

Tensors StepGraph::operator()(const Tensors& inputs) {
  if (!can_replay(inputs)) return run(inputs);
  if (!graph_) {
    if (warm_up_ > 0) {
      --warm_up_;
      return run(inputs);
    }
    try {
      record(inputs);
    } catch (const std::exception& error) {
      graph_.reset();
      refusal_ = error.what();
      return run(inputs);
    }
  }
  {
    NoGrad guard;
    for (std::size_t i = 0; i < inputs.size(); ++i) copy_(inputs_[i], inputs[i]);
  }
  graph_->replay();
  module_.zero_grad();
  for (const auto& [parameter, gradient] : gradients_) parameter.set_grad(gradient);
  for (const Tensor& tensor : written_) tensor.bump_version();
  return outputs_;
}

bool StepGraph::can_replay(const Tensors& inputs) const {
  if (!refusal_.empty() || inputs.empty() || inputs[0].device().type != DeviceType::cuda ||
      current_observer || anomaly_enabled() || !module_.is_training()) {
    return false;
  }
  const Tensors parameters = module_.parameters();
  if (std::any_of(parameters.begin(), parameters.end(), has_hooks)) return false;
  if (!graph_) return true;
  return switches() == switches_ &&
         std::equal(inputs.begin(), inputs.end(), inputs_.begin(), inputs_.end(),
                    [](const Tensor& now, const Tensor& recorded) {
                      return now.shape() == recorded.shape() && now.dtype() == recorded.dtype() &&
                             now.device() == recorded.device();
                    });
}

std::vector<bool> StepGraph::switches() const {
  std::vector<bool> all;
  for (const auto& [name, module] : module_.named_modules()) all.push_back(module->is_training());
  for (const Tensor& parameter : module_.parameters()) all.push_back(parameter.requires_grad());
  return all;
}

void StepGraph::record(const Tensors& inputs) {
  switches_ = switches();
  inputs_.clear();
  for (const Tensor& input : inputs) inputs_.push_back(clone(input.detach()));
  const Tensors state = tensors_of(module_);
  // Casts of weights that are kept from before must not be used by the graph, nor the graph's by
  // others: they are kept by version.
  const auto outdate_casts = [&] {
    for (const Tensor& tensor : state) tensor.bump_version();
  };
  outdate_casts();
  std::vector<std::uint32_t> versions;
  for (const Tensor& tensor : state) versions.push_back(tensor.version());
  graph_ = std::make_unique<cuda::Graph>(inputs[0].device());
  try {
    graph_->record([&] { outputs_ = run(inputs_); });
  } catch (...) {
    outdate_casts();  // those of a recording that failed were never computed
    throw;
  }
  for (std::size_t i = 0; i < state.size(); ++i) {
    if (state[i].version() != versions[i]) written_.push_back(state[i]);
  }
  outdate_casts();
  // A replay writes where the recording did: to a tensor that nobody looks at any more.
  const Tensors after = tensors_of(module_);
  bool replaced = after.size() != state.size();
  for (std::size_t i = 0; i < std::min(after.size(), state.size()); ++i) {
    if (after[i].is_same(state[i])) continue;
    NoGrad guard;
    copy_(after[i], state[i]);  // the recorded call was not made
    replaced = true;
  }
  check(!replaced, "StepGraph",
        "expected state that is written in place (copy_), got a module that puts other tensors in "
        "its place");
  for (const Tensor& parameter : module_.parameters()) {
    if (const Tensor gradient = parameter.grad(); gradient.defined()) {
      gradients_.emplace_back(parameter, gradient);
    }
  }
}

Tensors StepGraph::run(const Tensors& inputs) {
  module_.zero_grad();
  return function_(inputs);
}

}  // namespace invar::nn
