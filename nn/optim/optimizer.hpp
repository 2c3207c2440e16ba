#pragma once
// Optimizer: changes parameters by their gradients.
//
//   nn::SGD optimizer(model, {.lr = 0.1, .momentum = 0.9});
//   for (std::int64_t step = 0; step < steps; ++step) {
//     optimizer.set_lr(schedule.lr(step));                  (schedule.hpp)
//     optimizer.zero_grad();
//     loss_of(model, batch).backward();
//     nn::clip_grad_norm_(model.parameters(), 1.0);         (clip.hpp)
//     optimizer.step();
//   }
//
// Gradient accumulation: backward adds to .grad(), so a batch that does not fit memory is cut into
// k parts, each of which runs (loss_of(model, part) / k).backward() before the one step(). For a
// mean loss this is the gradient of the whole batch, unless the loss or a batch-norm looks at
// several samples at once (VICReg does).
//
//   Optimizer --> OptimizerOf<Options> --> SGD, LARS, Adam, AdamW
//      |              groups of parameters with their options
//      +-- ParameterState: one per parameter: its step count and its buffers (momentum, ...)
//
// A parameter whose gradient is undefined is skipped. Parameters are handles: the optimiser holds
// the same tensors as the model, so it is made after model.to(dtype).
#include <cstdint>
#include <initializer_list>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/module.hpp>
#include <map>
#include <string>
#include <vector>

namespace invar::nn {

/// The parameters of a group: those of a module, a list of named ones, or plain tensors, which
/// the optimiser names by their number among all of its parameters ("0", "1", ...).
struct ParameterList {
  ParameterList(const Module& module) : list(module.named_parameters()) {}
  ParameterList(std::vector<NamedTensor> named) : list(std::move(named)) {}
  ParameterList(const Tensors& tensors);
  ParameterList(std::initializer_list<Tensor> tensors) : ParameterList(Tensors(tensors)) {}

  std::vector<NamedTensor> list;
};

/// Parameters that are updated with options of their own.
template <class Options>
struct ParameterGroup {
  ParameterList parameters;
  Options options;
  double lr_scale = 1;  ///< of the learning rate that set_lr gives to all groups
};

/// What an optimiser keeps beside its options: buffers in the files' layout, named
/// "momentum_buffer/layer1.0.conv1.weight", and numbers, named "steps/layer1.0.conv1.weight" and
/// "lr/0" (group 0); "buffers/layer1.0.conv1.weight" is how many there are, if fewer than the
/// options ask for.
struct OptimizerState {
  std::string kind;  ///< "SGD", ...
  StateDict tensors;
  std::map<std::string, double, std::less<>> numbers;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient. After an Error nothing was changed.
  virtual void step() = 0;
  /// Drops all gradients.
  void zero_grad();

  /// The learning rate of the first group.
  virtual double lr() const = 0;
  /// Gives every group the rate lr * lr_scale. Error unless lr >= 0.
  virtual void set_lr(double lr) = 0;

  /// Whatever a resumed run needs to go on bit by bit. The tensors are views: copy or write them
  /// before the next step.
  OptimizerState state_dict() const;
  /// Restores it into an optimiser over parameters of the same names. Options other than the
  /// learning rate stay as they were given to the constructor. After an Error nothing was changed.
  void load_state_dict(const OptimizerState& state);
  /// The checks of load_state_dict alone.
  void check_state_dict(const OptimizerState& state) const;

 protected:
  struct ParameterState {
    NamedTensor parameter;
    std::size_t group;
    std::int64_t steps = 0;
    Tensors buffers;  ///< as many as buffer_names had at the last step
  };

  explicit Optimizer(std::string kind) : kind_(std::move(kind)) {}

  void add_group(std::size_t group, const ParameterList& parameters);
  virtual std::size_t groups() const = 0;
  virtual double group_lr(std::size_t group) const = 0;
  virtual void set_group_lr(std::size_t group, double lr) = 0;
  /// The buffers of each parameter of a group: "momentum_buffer".
  virtual std::vector<std::string> buffer_names(std::size_t group) const = 0;
  /// The buffers of a parameter and, up to `count`, those that it lacks, full of zeros: before its
  /// first step, or when changed options ask for more.
  static Tensors buffers_for(const ParameterState& state, std::size_t count);

  const std::string kind_;
  std::vector<ParameterState> states_;

 private:
  /// What states_ will be after loading `state`, with buffers that are yet to be filled from it.
  std::vector<ParameterState> restored(const OptimizerState& state) const;
  std::vector<NamedTensor> named_buffers(const std::vector<ParameterState>& states) const;
};

/// An optimiser whose groups have `Options`, a struct with a member `lr`. A derived class says
/// which buffers it keeps and what happens to the parameters.
template <class Options>
class OptimizerOf : public Optimizer {
 public:
  using Group = ParameterGroup<Options>;

  void step() final {
    NoGrad guard;
    std::vector<Update> updates;
    std::vector<ParameterState*> updated;
    for (ParameterState& state : states_) {
      const Tensor gradient = state.parameter.tensor.grad();
      if (!gradient.defined()) continue;
      Tensors buffers = buffers_for(state, buffer_names(state.group).size());
      const bool fresh = buffers.size() > state.buffers.size();
      updates.push_back({options_[state.group], state.parameter.tensor, gradient,
                         std::move(buffers), state.steps + 1, fresh});
      updated.push_back(&state);
    }
    update(updates);
    // Only now: a step that failed, for lack of memory, say, can be taken again.
    for (std::size_t i = 0; i < updates.size(); ++i) {
      updated[i]->buffers = std::move(updates[i].buffers);
      ++updated[i]->steps;
    }
  }

  double lr() const final { return options_.front().lr; }
  void set_lr(double lr) final {
    check(lr >= 0, kind_, "expected a learning rate of at least 0, got {}", lr);
    for (std::size_t i = 0; i < options_.size(); ++i) set_group_lr(i, lr * lr_scales_[i]);
  }
  /// The options of a group; changes take effect at the next step.
  Options& options(std::size_t group = 0) { return options_.at(group); }

 protected:
  OptimizerOf(std::string kind, const std::vector<Group>& groups) : Optimizer(std::move(kind)) {
    check(!groups.empty(), kind_, "expected at least one group of parameters, got none");
    for (const Group& group : groups) {
      check(group.lr_scale >= 0, kind_, "expected lr_scale >= 0, got {}", group.lr_scale);
      options_.push_back(group.options);
      lr_scales_.push_back(group.lr_scale);
      add_group(options_.size() - 1, group.parameters);
    }
  }

  /// What one step does to one parameter.
  struct Update {
    const Options& options;
    Tensor parameter;
    Tensor gradient;
    Tensors buffers;
    std::int64_t count;  ///< of the parameter's steps, this one included
    bool fresh;          ///< its buffers were made for this step
  };
  virtual void update(const std::vector<Update>& updates) = 0;

  static Tensors parameters(const std::vector<Update>& updates) {
    Tensors list;
    for (const Update& u : updates) list.push_back(u.parameter);
    return list;
  }
  static Tensors gradients(const std::vector<Update>& updates) {
    Tensors list;
    for (const Update& u : updates) list.push_back(u.gradient);
    return list;
  }
  /// The i-th buffer of each parameter; undefined where its group has fewer.
  static Tensors buffers(const std::vector<Update>& updates, std::size_t i) {
    Tensors list;
    for (const Update& u : updates) {
      list.push_back(i < u.buffers.size() ? u.buffers[i] : Tensor());
    }
    return list;
  }

  std::size_t groups() const final { return options_.size(); }
  double group_lr(std::size_t group) const final { return options_[group].lr; }
  void set_group_lr(std::size_t group, double lr) final { options_[group].lr = lr; }

  std::vector<Options> options_;

 private:
  std::vector<double> lr_scales_;
};

}  // namespace invar::nn
