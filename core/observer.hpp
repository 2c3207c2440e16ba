#pragma once
// Observer: is told what runs in a thread, from the inside out: kernels, nodes of a backward pass,
// modules. The profiler (autodiff/profiler.hpp) is one. Spans nest: what begins last ends first.
//
//   const Span span([&] { return ModuleCall{this, typeid(*this)}; });
//
// Without an observer a span costs one look at a thread-local pointer; nothing is even gathered.
#include <cstdint>
#include <span>
#include <string_view>
#include <typeinfo>

namespace invar {

class Node;
class Tensor;

struct KernelCall {
  std::string_view op;                     ///< the operation that asked for the kernel
  void (*function)();                      ///< which kernel: compare with the slots of the table
  std::span<const Tensor* const> tensors;  ///< the kernel's tensors in order; some may be undefined
};

struct ModuleCall {
  const void* module;
  const std::type_info& type;
};

class Observer {
 public:
  virtual void begins(const KernelCall& call) = 0;
  virtual void begins(const Node& node) = 0;
  virtual void begins(const ModuleCall& call) = 0;
  virtual void ends() = 0;
  /// What a node that is made now remembers as its scope(): the innermost module.
  virtual std::int64_t scope() const = 0;

 protected:
  ~Observer() = default;
};

/// The observer of this thread, or null. It must outlive the spans that have begun.
inline thread_local constinit Observer* current_observer = nullptr;

class Span {
 public:
  /// `what()` gives the KernelCall, const Node& or ModuleCall that begins.
  template <class What>
  explicit Span(const What& what) : observer_(current_observer) {
    if (observer_) [[unlikely]]
      observer_->begins(what());
  }
  ~Span() {
    if (observer_) [[unlikely]]
      observer_->ends();
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  Observer* observer_;
};

}  // namespace invar
