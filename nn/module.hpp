#pragma once
// Module: a piece of a network, made of parameters (trained), buffers (kept but not trained, such
// as running means) and child modules. One of your own:
//
//   class Mlp : public nn::Module {
//    public:
//     Mlp(std::int64_t in, std::int64_t hidden, std::int64_t out)
//         : fc1(in, hidden), fc2(hidden, out) {}
//     Tensor forward(const Tensor& x) override { return fc2(relu(fc1(x))); }
//     nn::Linear fc1, fc2;
//
//    private:
//     void members(nn::Members& m) override { m("fc1", fc1), m("fc2", fc2); }
//   };
//
//   Mlp net(784, 256, 10);
//   nn::SGD optimizer(net, {.lr = 0.1});
//   cross_entropy(net(images), labels).backward();
//
// members() names every parameter, buffer and child, in the order in which PyTorch would have them
// registered. Everything else follows from it: names such as "fc1.weight", train and eval, state
// dicts, conversion. A member that it does not name is not trained and not saved.
//
// Ownership. A module is a value that owns its members: no pointers, no sharing. Copying a module
// copies its parameters and buffers (an independent network, as an EMA or a teacher needs it; they
// are no longer connected), so pass modules by reference. A Tensor is a handle, on the other hand:
// `Tensor w = net.fc1.weight` is the parameter itself (`auto w` would be a copy). Where the type of
// a child is known only at run time, AnyModule (container.hpp) holds it, as a value too.
//
// Threads: a module is used by one thread at a time.
#include <cstdint>
#include <functional>
#include <invar/core/observer.hpp>
#include <invar/nn/state_dict.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace invar::nn {

class AnyModule;
class Module;

/// A tensor that is trained: a dense leaf that requires grad. Undefined: absent (a bias switched
/// off). May be used wherever a Tensor is wanted.
class Parameter : public Tensor {
 public:
  Parameter() = default;
  /// Takes over the values; `layout` declares how files order its dimensions.
  explicit Parameter(const Tensor& values, FileLayout layout = FileLayout::same);
  /// A copy of the values, not of the handle; the gradient is left behind.
  Parameter(const Parameter& other);
  Parameter(Parameter&&) noexcept = default;
  Parameter& operator=(Parameter&&) noexcept = default;
  Parameter& operator=(const Parameter&) = delete;

  FileLayout layout() const { return layout_; }

 private:
  FileLayout layout_ = FileLayout::same;
};

/// A tensor that belongs to a module's state and is not trained. Undefined: absent.
class Buffer : public Tensor {
 public:
  Buffer() = default;
  explicit Buffer(const Tensor& values);
  /// A copy of the values, not of the handle.
  Buffer(const Buffer& other);
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;
  Buffer& operator=(const Buffer&) = delete;
};

/// What Module::members fills: the names and addresses of the members.
class Members {
 public:
  void operator()(std::string name, Parameter& parameter) { add(std::move(name), &parameter); }
  void operator()(std::string name, Buffer& buffer) { add(std::move(name), &buffer); }
  void operator()(std::string name, Module& child) { add(std::move(name), &child); }
  void operator()(std::string name, AnyModule& child);
  /// A child that may be absent.
  template <class M>
  void operator()(const std::string& name, std::optional<M>& child) {
    if (child) (*this)(name, *child);
  }

 private:
  friend class Module;
  using Member = std::variant<Parameter*, Buffer*, Module*>;

  void add(std::string name, Member member);

  std::vector<std::pair<std::string, Member>> list_;
};

class Module {
 public:
  virtual ~Module() = default;

  /// What the module computes. A module with another signature (several inputs or outputs) has a
  /// function of its own instead and leaves this one as it is: an Error.
  virtual Tensor forward(const Tensor& x);
  Tensor operator()(const Tensor& x) {
    const Span span([this] { return ModuleCall{this, typeid(*this)}; });
    return forward(x);
  }

  // What there is, named by path and in PyTorch's order: a module's own before its children's.

  std::vector<NamedTensor> named_parameters() const;
  std::vector<NamedTensor> named_buffers() const;
  Tensors parameters() const;
  /// This module (named "") and all below it, each before its children.
  std::vector<std::pair<std::string, Module*>> named_modules();

  /// Calls f for every module, children first.
  Module& apply(const std::function<void(Module&)>& f);

  /// Batch-norm, dropout and the like behave differently while training (the initial mode).
  Module& train(bool on = true);
  Module& eval() { return train(false); }
  bool is_training() const { return training_; }

  /// Whether the parameters are trained. An optimiser skips those that are not.
  Module& requires_grad_(bool on = true);
  /// Drops all gradients.
  void zero_grad();

  /// Converts the floating-point parameters and buffers, which become new tensors: an optimiser is
  /// made afterwards. Converting to the dtype that they have changes nothing.
  Module& to(DType dtype);
  /// Moves all parameters and buffers, which become new tensors unless they are there already.
  Module& to(Device device);

  /// Parameters and buffers by name in the files' layout (state_dict.hpp).
  StateDict state_dict() const;
  /// Copies values in; dtypes of the model stay. Without `strict`, names that only one side has are
  /// skipped and reported. After an Error nothing was changed.
  LoadReport load_state_dict(const StateDict& state, bool strict = true);
  /// The checks of load_state_dict alone.
  void check_state_dict(const StateDict& state) const;

 protected:
  Module() = default;
  // Derived modules may be copied; a Module alone would lose what it is.
  Module(const Module&) = default;
  Module(Module&&) noexcept = default;
  Module& operator=(const Module&) = default;
  Module& operator=(Module&&) noexcept = default;

  /// Names the members. See the top of this file.
  virtual void members(Members& members);

 private:
  using Member = Members::Member;

  std::vector<std::pair<std::string, Member>> list_members() const;
  /// Calls f(path, member) for all parameters and buffers, a module's own before its children's.
  void walk(const std::string& prefix,
            const std::function<void(const std::string& path, Member member)>& f) const;
  /// Puts f of each parameter and buffer in its place; undefined: it stays.
  void replace(const std::function<Tensor(const Tensor&)>& f);

  bool training_ = true;
};

/// Gives a module and all below it one mode until the end of the scope, when each of them gets its
/// own back.
///
///   const nn::ModeScope evaluating(net, /*train=*/false);
class ModeScope {
 public:
  ModeScope(Module& module, bool train);
  ~ModeScope();
  ModeScope(const ModeScope&) = delete;
  ModeScope& operator=(const ModeScope&) = delete;

 private:
  std::vector<std::pair<Module*, bool>> modes_;
};

/// Number of trained elements.
std::int64_t count_parameters(const Module& module);

}  // namespace invar::nn

template <>
struct fmt::formatter<invar::nn::Parameter> : fmt::formatter<invar::Tensor> {};
template <>
struct fmt::formatter<invar::nn::Buffer> : fmt::formatter<invar::Tensor> {};
