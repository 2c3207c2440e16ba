#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/module.hpp>
#include <invar/ops/convert.hpp>

namespace invar::nn {
namespace {

/// The same values in memory of their own.
Tensor copy_of(const Tensor& x) {
  if (!x.defined()) return {};
  NoGrad guard;
  return clone(x.detach());
}

/// A dense tensor without history.
Tensor bare(const Tensor& x) {
  NoGrad guard;
  return contiguous(x.detach());
}

}  // namespace

Parameter::Parameter(const Tensor& values, FileLayout layout)
    : Tensor(bare(values)), layout_(layout) {
  check(layout != FileLayout::oihw || values.dim() == 4, "Parameter",
        "expected a convolution weight [O,kh,kw,I] for FileLayout::oihw, got shape {}",
        values.shape());
  requires_grad_();
}

Parameter::Parameter(const Parameter& other) : Tensor(copy_of(other)), layout_(other.layout_) {
  if (other.requires_grad()) requires_grad_();
}

Buffer::Buffer(const Tensor& values) : Tensor(bare(values)) {}

Buffer::Buffer(const Buffer& other) : Tensor(copy_of(other)) {}

void Members::operator()(std::string name, AnyModule& child) {
  add(std::move(name), &child.module());
}

void Members::add(std::string name, Member member) {
  check(!name.empty() && name.find_first_of("./") == std::string::npos, "Module",
        "expected a name without '.' and '/' for a member, got \"{}\"", name);
  const bool is_new = std::none_of(list_.begin(), list_.end(),
                                   [&](const auto& other) { return other.first == name; });
  check(is_new, "Module", "expected every member to have a name of its own, got \"{}\" twice",
        name);
  list_.emplace_back(std::move(name), member);
}

Tensor Module::forward(const Tensor&) {
  fail("Module", "expected a module with forward(Tensor): this one has a function of its own");
}

void Module::members(Members&) {}

std::vector<std::pair<std::string, Module::Member>> Module::list_members() const {
  Members all;
  // members() hands out addresses, which is all that a const module keeps others from doing.
  const_cast<Module*>(this)->members(all);
  return std::move(all.list_);
}

void Module::walk(const std::string& prefix,
                  const std::function<void(const std::string&, Member)>& f) const {
  const auto list = list_members();
  for (const auto& [name, member] : list) {
    if (!std::holds_alternative<Module*>(member)) f(prefix + name, member);
  }
  for (const auto& [name, member] : list) {
    if (const auto* child = std::get_if<Module*>(&member)) (*child)->walk(prefix + name + ".", f);
  }
}

std::vector<NamedTensor> Module::named_parameters() const {
  std::vector<NamedTensor> found;
  walk("", [&](const std::string& path, Member member) {
    const auto* p = std::get_if<Parameter*>(&member);
    if (p && (*p)->defined()) found.push_back({path, **p, (*p)->layout()});
  });
  return found;
}

std::vector<NamedTensor> Module::named_buffers() const {
  std::vector<NamedTensor> found;
  walk("", [&](const std::string& path, Member member) {
    const auto* b = std::get_if<Buffer*>(&member);
    if (b && (*b)->defined()) found.push_back({path, **b});
  });
  return found;
}

Tensors Module::parameters() const {
  Tensors found;
  for (NamedTensor& p : named_parameters()) found.push_back(std::move(p.tensor));
  return found;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> found = {{"", this}};
  for (const auto& [name, member] : list_members()) {
    const auto* child = std::get_if<Module*>(&member);
    if (!child) continue;
    for (const auto& [below, module] : (*child)->named_modules()) {
      found.emplace_back(below.empty() ? name : name + "." + below, module);
    }
  }
  return found;
}

Module& Module::apply(const std::function<void(Module&)>& f) {
  for (const auto& [name, member] : list_members()) {
    if (const auto* child = std::get_if<Module*>(&member)) (*child)->apply(f);
  }
  f(*this);
  return *this;
}

Module& Module::train(bool on) {
  return apply([on](Module& module) { module.training_ = on; });
}

ModeScope::ModeScope(Module& module, bool train) {
  for (const auto& [name, part] : module.named_modules()) {
    modes_.emplace_back(part, part->is_training());
  }
  module.train(train);
}

// Children come after their parents, so each ends with its own mode.
ModeScope::~ModeScope() {
  for (const auto& [part, training] : modes_) part->train(training);
}

Module& Module::requires_grad_(bool on) {
  for (const Tensor& p : parameters()) p.requires_grad_(on);
  return *this;
}

void Module::zero_grad() {
  for (const Tensor& p : parameters()) p.set_grad({});
}

void Module::replace(const std::function<Tensor(const Tensor&)>& f) {
  walk("", [&](const std::string&, Member member) {
    if (const auto* parameter = std::get_if<Parameter*>(&member)) {
      Parameter& p = **parameter;
      const Tensor made = p.defined() ? f(p.detach()) : Tensor();
      if (!made.defined()) return;
      const bool trained = p.requires_grad();
      p = Parameter(made, p.layout());
      if (!trained) p.requires_grad_(false);
    } else {
      Buffer& b = **std::get_if<Buffer*>(&member);
      const Tensor made = b.defined() ? f(b) : Tensor();
      if (made.defined()) b = Buffer(made);
    }
  });
}

Module& Module::to(DType dtype) {
  check(is_floating(dtype), "to", "expected a floating dtype for a module, got {}", dtype);
  replace([&](const Tensor& x) {
    return is_floating(x.dtype()) && x.dtype() != dtype ? invar::to(x, dtype) : Tensor();
  });
  return *this;
}

Module& Module::to(Device device) {
  replace([&](const Tensor& x) { return x.device() != device ? invar::to(x, device) : Tensor(); });
  return *this;
}

namespace {

std::vector<NamedTensor> state_of(const Module& module) {
  std::vector<NamedTensor> all = module.named_parameters();
  for (NamedTensor& b : module.named_buffers()) all.push_back(std::move(b));
  return all;
}

}  // namespace

StateDict Module::state_dict() const { return state_dict_of(state_of(*this)); }

LoadReport Module::load_state_dict(const StateDict& state, bool strict) {
  return nn::load_state_dict("load_state_dict", state_of(*this), state, strict);
}

void Module::check_state_dict(const StateDict& state) const {
  nn::check_state_dict("load_state_dict", state_of(*this), state);
}

std::int64_t count_parameters(const Module& module) {
  std::int64_t n = 0;
  for (const Tensor& p : module.parameters()) {
    if (p.requires_grad()) n += p.numel();
  }
  return n;
}

}  // namespace invar::nn
