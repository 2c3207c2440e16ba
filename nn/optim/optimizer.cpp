#include <algorithm>
#include <cmath>
#include <invar/nn/optim/optimizer.hpp>
#include <invar/ops/factory.hpp>
#include <set>

namespace invar::nn {
namespace {

std::string lr_key(std::size_t group) { return fmt::format("lr/{}", group); }
std::string steps_key(const NamedTensor& parameter) { return "steps/" + parameter.name; }
std::string buffers_key(const NamedTensor& parameter) { return "buffers/" + parameter.name; }

constexpr const char* kLoad = "Optimizer::load_state_dict";

}  // namespace

ParameterList::ParameterList(const Tensors& tensors) {
  for (const Tensor& tensor : tensors) list.push_back({"", tensor});
}

void Optimizer::add_group(std::size_t group, const ParameterList& parameters) {
  check(!parameters.list.empty(), kind_, "expected parameters in every group, got none in group {}",
        group);
  std::set<std::string> names;
  for (const ParameterState& state : states_) names.insert(state.parameter.name);
  for (NamedTensor parameter : parameters.list) {
    if (parameter.name.empty()) parameter.name = std::to_string(states_.size());
    const DType dtype = parameter.tensor.dtype();
    check(parameter.tensor.is_leaf() && (dtype == DType::f32 || dtype == DType::f64), kind_,
          "expected leaves of dtype f32 or f64 as parameters, got '{}', {} of dtype {}: for bf16, "
          "keep parameters in f32 and compute under Autocast",
          parameter.name, parameter.tensor.is_leaf() ? "a leaf" : "a result", dtype);
    check(parameter.tensor.is_contiguous(), kind_,
          "expected dense parameters, got '{}' of shape {} with strides {}", parameter.name,
          parameter.tensor.shape(), parameter.tensor.strides());
    check(names.insert(parameter.name).second, kind_,
          "expected every parameter to have a name of its own, got '{}' twice: pass the groups as "
          "named tensors",
          parameter.name);
    for (const ParameterState& other : states_) {
      check(!other.parameter.tensor.is_same(parameter.tensor), kind_,
            "expected every parameter once, got '{}' and '{}', which are one tensor",
            other.parameter.name, parameter.name);
    }
    states_.push_back({parameter, group, 0, {}});
  }
}

Tensors Optimizer::buffers_for(const ParameterState& state, std::size_t count) {
  // Those of before, but for what is no longer asked for (momentum was switched off).
  const std::size_t kept = std::min(count, state.buffers.size());
  Tensors all(state.buffers.begin(), state.buffers.begin() + static_cast<std::ptrdiff_t>(kept));
  while (all.size() < count) all.push_back(zeros_like(state.parameter.tensor));
  return all;
}

void Optimizer::zero_grad() {
  for (const ParameterState& state : states_) state.parameter.tensor.set_grad({});
}

std::vector<NamedTensor> Optimizer::named_buffers(const std::vector<ParameterState>& states) const {
  std::vector<NamedTensor> all;
  for (const ParameterState& state : states) {
    const std::vector<std::string> names = buffer_names(state.group);
    for (std::size_t i = 0; i < std::min(names.size(), state.buffers.size()); ++i) {
      all.push_back(
          {names[i] + "/" + state.parameter.name, state.buffers[i], state.parameter.layout});
    }
  }
  return all;
}

OptimizerState Optimizer::state_dict() const {
  OptimizerState out{kind_, state_dict_of(named_buffers(states_)), {}};
  for (const ParameterState& state : states_) {
    if (state.steps == 0) continue;
    out.numbers[steps_key(state.parameter)] = static_cast<double>(state.steps);
    if (state.buffers.size() < buffer_names(state.group).size()) {
      out.numbers[buffers_key(state.parameter)] = static_cast<double>(state.buffers.size());
    }
  }
  for (std::size_t i = 0; i < groups(); ++i) out.numbers[lr_key(i)] = group_lr(i);
  return out;
}

std::vector<Optimizer::ParameterState> Optimizer::restored(const OptimizerState& state) const {
  check(state.kind == kind_, kLoad, "expected the state of {}, got that of {}", kind_, state.kind);
  std::set<std::string, std::less<>> known;
  for (std::size_t i = 0; i < groups(); ++i) {
    known.insert(lr_key(i));
    check(state.numbers.contains(lr_key(i)), kLoad,
          "expected the state of {} groups of parameters, got no '{}'", groups(), lr_key(i));
    const double lr = state.numbers.at(lr_key(i));
    check(lr >= 0, kLoad, "expected a learning rate of at least 0 as '{}', got {}", lr_key(i), lr);
  }
  std::vector<ParameterState> fresh;
  for (const ParameterState& now : states_) {
    fresh.push_back({now.parameter, now.group, 0, {}});
    const auto steps = state.numbers.find(*known.insert(steps_key(now.parameter)).first);
    if (steps == state.numbers.end()) continue;
    check(steps->second >= 1 && steps->second == std::floor(steps->second) && steps->second < 1e15,
          kLoad, "expected a number of steps for '{}', got {}", now.parameter.name, steps->second);
    fresh.back().steps = static_cast<std::int64_t>(steps->second);
    const std::size_t all = buffer_names(now.group).size();
    const auto buffers = state.numbers.find(*known.insert(buffers_key(now.parameter)).first);
    const double kept = buffers == state.numbers.end() ? static_cast<double>(all) : buffers->second;
    check(kept >= 0 && kept <= static_cast<double>(all), kLoad,
          "expected at most {} buffers of '{}', got {}", all, now.parameter.name, kept);
    fresh.back().buffers = buffers_for(fresh.back(), static_cast<std::size_t>(kept));
  }
  for (const auto& [key, value] : state.numbers) {
    check(known.contains(key), kLoad,
          "expected the state of an optimiser over the same parameters, got '{}'", key);
  }
  return fresh;
}

void Optimizer::check_state_dict(const OptimizerState& state) const {
  nn::check_state_dict(kLoad, named_buffers(restored(state)), state.tensors);
}

void Optimizer::load_state_dict(const OptimizerState& state) {
  std::vector<ParameterState> fresh = restored(state);
  nn::load_state_dict(kLoad, named_buffers(fresh), state.tensors);
  states_ = std::move(fresh);
  for (std::size_t i = 0; i < groups(); ++i) set_group_lr(i, state.numbers.at(lr_key(i)));
}

}  // namespace invar::nn
