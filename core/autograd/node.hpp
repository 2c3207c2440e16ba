#pragma once
// Node: one recorded operation of the backward graph.
//
//        x ----\                            forward: tensors flow down
//               mul ---> z  (z.grad_fn = mul, z.output_nr = 0)
//        y ----/
//
//        mul.edges() = { edge of x, edge of y }    backward: gradients flow along the edges
//
//   - A node has one *output* per tensor the operation made and one *edge* per tensor it took.
//     An edge names the node that made that tensor and which of its outputs it was; it is empty
//     when the tensor needs no gradient.
//   - apply() maps the gradients of the outputs to the gradients of the inputs (the vector-Jacobian
//     product).
//   - A leaf's edge leads to its GradSink, the node that adds into .grad(). One sink per leaf.
//   - Nodes are numbered in creation order, so an edge always leads to a smaller number. Sinks have
//     the largest number of all: the engine runs a ready sink at once.
//
// Note [Freeing a long chain]: node -> edge -> node ownership would destroy a chain of a million
// nodes with a million nested destructors. dispose() therefore puts a dying node on a list of the
// thread; the outermost call empties the list in a loop. The list runs through the nodes: a
// container would be destroyed before the tensors in static variables are.
#include <bitset>
#include <cstdint>
#include <invar/core/call_stack.hpp>
#include <invar/core/tensor.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace invar {

struct Edge {
  NodePtr node;       ///< null: no gradient is wanted
  int output_nr = 0;  ///< which output of `node`
};

/// What the gradient of a node's output looks like.
struct TensorMeta {
  Dims shape;
  DType dtype;
  Device device;

  explicit TensorMeta(const Tensor& x) : shape(x.shape()), dtype(x.dtype()), device(x.device()) {}
  bool operator==(const TensorMeta&) const = default;
};

/// `gradient`; Error unless it can be that of a tensor like `expected`.
const Tensor& checked_gradient(std::string_view op, const TensorMeta& expected,
                               const Tensor& gradient);

/// Which inputs want a gradient: needs[i]. Computing one that nobody needs is only waste, so
/// everything beyond the first 64 inputs is simply said to be needed.
class Needs {
 public:
  void add(std::size_t i) {
    if (i < 64) bits_.set(i);
  }
  bool operator[](std::size_t i) const { return i >= 64 || bits_[i]; }

 private:
  std::bitset<64> bits_;
};

class Node : public RefCounted {
 public:
  explicit Node(const char* name);

  /// Gradients of the inputs from those of the outputs. An undefined tensor stands for zero on both
  /// sides; not every output's gradient is undefined.
  virtual Tensors apply(const Tensors& gradients, Needs needs) = 0;
  /// Drops the saved tensors. The node cannot be applied afterwards.
  virtual void release() = 0;
  virtual bool released() const = 0;

  const char* name() const { return name_; }
  std::uint64_t sequence_nr() const { return sequence_nr_; }
  std::span<const Edge> edges() const { return edges_; }
  std::span<const TensorMeta> outputs() const { return outputs_; }
  /// Which module made it, as the observer of that moment counts them; -1: there was none.
  std::int64_t scope() const { return scope_; }
  /// Where the forward call was made; empty unless it happened in anomaly mode.
  std::string origin() const { return call_stack_.to_string(); }

  /// Registers the node as the maker of `output` (its next output number). An output of an integer
  /// dtype (argmax's indices) is counted but gets no history.
  void add_output(Tensor& output);
  void reserve_inputs(std::size_t count) { edges_.reserve(count); }
  void add_input(const Tensor& input);
  void add_hook(int output_nr, GradHook hook) { hooks_.emplace_back(output_nr, std::move(hook)); }
  const std::vector<std::pair<int, GradHook>>& hooks() const { return hooks_; }
  /// Has the gradient of an output, once hooks have seen it, added to `*slot` as well.
  void retain_gradient(int output_nr, const std::shared_ptr<Tensor>& slot);
  const auto& retained() const { return retained_; }

 protected:
  Node(const char* name, std::uint64_t sequence_nr) : name_(name), sequence_nr_(sequence_nr) {}
  void dispose() override;
  std::vector<TensorMeta, PoolAllocator<TensorMeta>> outputs_;

 private:
  const char* name_;
  std::int64_t scope_ = -1;
  std::uint64_t sequence_nr_;
  std::vector<Edge, PoolAllocator<Edge>> edges_;
  std::vector<std::pair<int, GradHook>> hooks_;
  std::vector<std::pair<int, std::weak_ptr<Tensor>>> retained_;
  CallStack call_stack_;
  Node* next_dying_ = nullptr;
};

/// The end of every path: adds what arrives to the .grad() of its leaf. The leaf owns its sink; the
/// sink only points back, and drops the gradient if the leaf is gone. Another thread may let go of
/// the leaf at any moment: the pointer is read and reset under a lock.
class GradSink final : public Node {
 public:
  explicit GradSink(TensorImpl& leaf);

  Tensors apply(const Tensors& gradients, Needs needs) override;
  void release() override {}
  bool released() const override { return false; }

  void forget_leaf();
  /// Of either kind.
  bool has_hooks() const { return !hooks().empty() || !post_hooks_.empty(); }
  void add_post_hook(std::function<void(const Tensor&)> hook) {
    post_hooks_.push_back(std::move(hook));
  }

 private:
  TensorImpl* leaf_;
  std::vector<std::function<void(const Tensor&)>> post_hooks_;
};

/// Makes a tensor anew: see Note [Recomputing] in saved_tensor.hpp.
struct Recipe {
  const char* op;  ///< the operation whose output it is
  std::function<Tensor()> make;
  Tensor made = {};  ///< without history; undefined: to be made

  Tensor get();
};

/// Autograd state of a tensor that requires grad, or of a leaf that did once.
struct AutogradMeta : Pooled {
  NodePtr grad_fn;               ///< set for an interior tensor
  int output_nr = 0;             ///< which of grad_fn's outputs this is
  IntrusivePtr<GradSink> sink;   ///< set for a leaf
  std::weak_ptr<Recipe> recipe;  ///< for the tensor at `recipe_version` only
  std::uint32_t recipe_version = 0;
  /// Null until first used. The node of a tensor that retains its gradient has it, too, but owns
  /// neither tensor nor gradient, which may lead back to the node.
  std::shared_ptr<Tensor> grad;

  const std::shared_ptr<Tensor>& grad_slot() {
    if (!grad) grad = std::make_shared<Tensor>();
    return grad;
  }

  ~AutogradMeta() {
    if (sink) sink->forget_leaf();
  }
};

/// Where the gradient of `tensor` goes: empty if it requires none.
Edge edge_of(const Tensor& tensor);

/// Makes `tensor`, which has no history, the output of a node: the inverse of edge_of.
void set_history(const Tensor& tensor, Edge source);

}  // namespace invar
