#pragma once
// record: how an operation enters the graph. The gradient rule is a lambda beside the forward code:
//
//   Tensor exp(const Tensor& x) {
//     Tensor y = unary(UnaryOp::exp, "exp", x);
//     // dy/dx = e^x = y
//     return record("exp", {x}, y, [y = SavedTensor::output(y)](const Tensor& g) -> Tensors {
//       return {g * y.get()};
//     });
//   }
//
// The rule is written in terms of other operations, so it is differentiable itself. It takes one of
//   (const Tensor& g)                       one output
//   (const Tensor& g, Needs needs)          one output; needs[i]: input i wants its gradient
//   (const Tensors& gs, Needs needs)        several outputs; an undefined gs[k] means zero
// and returns one gradient per input; an undefined one means zero. What a rule computes by other
// means (raw data, NoGrad) is a constant to second derivatives, which are then wrong without a
// word: gradgradcheck (autodiff/gradcheck.hpp) tells. The forward result must not have a history,
// and a rule keeps tensors as SavedTensor: a captured handle would miss changes in place, and the
// operation's own output would keep itself alive.
#include <algorithm>
#include <functional>
#include <initializer_list>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/node.hpp>
#include <invar/core/autograd/saved_tensor.hpp>
#include <optional>

namespace invar {

template <class Vjp>
class FunctionNode final : public Node {
 public:
  FunctionNode(const char* name, Vjp vjp) : Node(name), vjp_(std::move(vjp)) {}

  Tensors apply(const Tensors& gradients, Needs needs) override {
    if constexpr (std::is_invocable_v<Vjp&, const Tensor&>) {
      return (*vjp_)(gradients[0]);
    } else if constexpr (std::is_invocable_v<Vjp&, const Tensor&, Needs>) {
      return (*vjp_)(gradients[0], needs);
    } else {
      return (*vjp_)(gradients, needs);
    }
  }
  void release() override { vjp_.reset(); }
  bool released() const override { return !vjp_.has_value(); }

 private:
  std::optional<Vjp> vjp_;
};

using TensorRefs = std::initializer_list<std::reference_wrapper<const Tensor>>;

/// True iff an operation on these inputs is to be recorded: recording is on and one requires grad.
template <class Inputs = TensorRefs>
bool needs_grad(const Inputs& inputs) {
  return grad_enabled() && std::any_of(inputs.begin(), inputs.end(),
                                       [](const Tensor& x) { return x.requires_grad(); });
}

/// A node that knows its inputs, but not yet its outputs.
template <class Inputs, class Vjp>
NodePtr make_node(const char* op, const Inputs& inputs, Vjp vjp) {
  NodePtr node = make_intrusive<FunctionNode<Vjp>>(op, std::move(vjp));
  node->reserve_inputs(inputs.size());
  for (const Tensor& x : inputs) node->add_input(x);
  return node;
}

/// Records an operation with one output, if needs_grad(inputs); returns the output.
template <class Inputs = TensorRefs, class Vjp>
Tensor record(const char* op, const Inputs& inputs, Tensor output, Vjp vjp) {
  if (needs_grad(inputs)) make_node(op, inputs, std::move(vjp))->add_output(output);
  return output;
}

/// The same for several outputs; those of an integer dtype get no history.
template <class Inputs = TensorRefs, class Vjp>
Tensors record_all(const char* op, const Inputs& inputs, Tensors outputs, Vjp vjp) {
  if (needs_grad(inputs)) {
    const NodePtr node = make_node(op, inputs, std::move(vjp));
    for (Tensor& y : outputs) node->add_output(y);
  }
  return outputs;
}

}  // namespace invar
