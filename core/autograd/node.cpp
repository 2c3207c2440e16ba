#include <algorithm>
#include <atomic>
#include <invar/core/autograd/engine_ops.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/node.hpp>
#include <invar/core/observer.hpp>
#include <limits>
#include <mutex>

namespace invar {
namespace {

/// Of the sinks' pointers and of leaves' gradients. Letting go of one may be the end of other
/// leaves.
std::recursive_mutex leaves;

std::atomic<std::uint64_t> next_sequence_nr{0};

}  // namespace

const Tensor& checked_gradient(std::string_view op, const TensorMeta& expected,
                               const Tensor& gradient) {
  check(expected == TensorMeta(gradient), op, "expected a gradient {} {} on {}, got {} {} on {}",
        expected.dtype, expected.shape, expected.device, gradient.dtype(), gradient.shape(),
        gradient.device());
  return gradient;
}

Node::Node(const char* name) : Node(name, next_sequence_nr++) {
  if (current_observer) scope_ = current_observer->scope();
  if (anomaly_enabled()) call_stack_ = CallStack::here();
}

void Node::add_input(const Tensor& input) { edges_.push_back(edge_of(input)); }

void Node::add_output(Tensor& output) {
  outputs_.emplace_back(output);
  if (!is_floating(output.dtype())) return;
  check(!output.requires_grad(), name_,
        "expected an output without a history: compute it under NoGrad or from detached inputs");
  set_history(output, {NodePtr(this), static_cast<int>(outputs_.size()) - 1});
}

void Node::retain_gradient(int output_nr, const std::shared_ptr<Tensor>& slot) {
  const auto is_slot = [&](const auto& other) { return other.second.lock() == slot; };
  if (std::any_of(retained_.begin(), retained_.end(), is_slot)) return;  // once is enough
  retained_.emplace_back(output_nr, slot);
}

// See Note [Freeing a long chain].
void Node::dispose() {
  thread_local Node* dying = nullptr;
  thread_local bool emptying = false;
  next_dying_ = std::exchange(dying, this);
  if (emptying) return;
  emptying = true;
  while (dying) delete std::exchange(dying, dying->next_dying_);
  emptying = false;
}

GradSink::GradSink(TensorImpl& leaf)
    : Node("leaf", std::numeric_limits<std::uint64_t>::max()), leaf_(&leaf) {
  outputs_.emplace_back(Tensor(IntrusivePtr<TensorImpl>(&leaf)));
}

void GradSink::forget_leaf() {
  const std::lock_guard lock(leaves);
  leaf_ = nullptr;
}

Tensors GradSink::apply(const Tensors& gradients, Needs) {
  const Tensor& gradient = gradients[0];
  Tensor leaf;
  {
    const std::lock_guard lock(leaves);  // threads with graphs of their own may reach one leaf
    leaf = Tensor(IntrusivePtr<TensorImpl>::of_alive(leaf_));
    if (!leaf.requires_grad()) return {};
    Tensor& grad = *leaf.impl().autograd->grad_slot();
    if (!grad.defined()) {
      grad = engine_ops::is_exclusive(gradient) ? gradient : engine_ops::clone(gradient);
    } else if (grad_enabled()) {  // differentiable ones must not change under whoever holds them
      grad = engine_ops::add(grad, gradient);
    } else {
      engine_ops::add_(grad, gradient);
    }
  }
  for (std::size_t i = 0, n = post_hooks_.size(); i < n; ++i) {
    const auto hook = post_hooks_[i];  // a copy: it may register another
    hook(leaf);
  }
  return {};
}

Edge edge_of(const Tensor& tensor) {
  if (!tensor.requires_grad()) return {};
  const AutogradMeta& meta = *tensor.impl().autograd;
  return meta.grad_fn ? Edge{meta.grad_fn, meta.output_nr} : Edge{meta.sink, 0};
}

void set_history(const Tensor& tensor, Edge source) {
  auto meta = std::make_unique<AutogradMeta>();
  meta->grad_fn = std::move(source.node);
  meta->output_nr = source.output_nr;
  tensor.impl().autograd = std::move(meta);
  tensor.impl().requires_grad = true;
}

}  // namespace invar
