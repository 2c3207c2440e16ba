#pragma once
// Modules whose type is known only at run time, and lists of them.
//
//   AnyModule encoder = config.deep ? AnyModule(resnet50()) : AnyModule(resnet18());
//   Sequential head(Linear(512, 2048), BatchNorm1d(2048), ReLU(), Linear(2048, 10));
#include <concepts>
#include <invar/nn/module.hpp>
#include <memory>

namespace invar::nn {

/// A module of any type, held as a value: copying it copies the module.
class AnyModule {
 public:
  template <std::derived_from<Module> M>
  AnyModule(M module)
      : module_(std::make_unique<M>(std::move(module))),
        copy_([](const Module& m) -> std::unique_ptr<Module> {
          return std::make_unique<M>(static_cast<const M&>(m));
        }) {}
  AnyModule(const AnyModule& other) : module_(other.copy_(*other.module_)), copy_(other.copy_) {}
  AnyModule(AnyModule&&) noexcept = default;
  AnyModule& operator=(AnyModule&&) noexcept = default;
  AnyModule& operator=(const AnyModule&) = delete;

  Module& module() { return *module_; }
  const Module& module() const { return *module_; }
  Module* operator->() { return module_.get(); }
  Tensor operator()(const Tensor& x) { return (*module_)(x); }

 private:
  std::unique_ptr<Module> module_;
  std::unique_ptr<Module> (*copy_)(const Module&);
};

/// Modules one after another; they are named "0", "1", ... An empty one is the identity.
class Sequential : public Module {
 public:
  Sequential() = default;
  template <std::derived_from<Module>... Ms>
  requires(sizeof...(Ms) > 0 && !(sizeof...(Ms) == 1 && (std::same_as<Ms, Sequential> &&
                                                         ...))) explicit Sequential(Ms... modules) {
    (push_back(std::move(modules)), ...);
  }

  void push_back(AnyModule module) { modules_.push_back(std::move(module)); }
  std::size_t size() const { return modules_.size(); }
  Module& operator[](std::size_t i);
  /// The i-th module, which is an M; Error if it is not.
  template <class M>
  M& at(std::size_t i) {
    M* found = dynamic_cast<M*>(&(*this)[i]);
    check(found != nullptr, "Sequential", "expected another type of module at {}", i);
    return *found;
  }

  Tensor forward(const Tensor& x) override;

 private:
  void members(Members& m) override;

  std::vector<AnyModule> modules_;
};

}  // namespace invar::nn
