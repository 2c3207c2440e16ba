#include <algorithm>
#include <invar/core/autocast.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/engine_ops.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/observer.hpp>
#include <queue>
#include <unordered_map>

namespace invar {
namespace {

thread_local Node* running = nullptr;

/// What one pass knows about one node.
struct Task {
  Node* node = nullptr;
  int pending = 0;     ///< edges that have not delivered yet
  bool needed = true;  ///< false iff no requested input lies behind this node
  Tensors gradients;   ///< one slot per output of the node; undefined: nothing arrived
  /// Which of grad()'s inputs are outputs of this node: their gradients are its answer.
  std::vector<std::size_t, PoolAllocator<std::size_t>> requested;
  std::vector<Task*, PoolAllocator<Task*>> next;  ///< where its edges lead; null: an empty edge

  bool is_wanted() const { return needed || !requested.empty(); }
};

struct OlderFirst {
  bool operator()(const Task* a, const Task* b) const {
    return a->node->sequence_nr() < b->node->sequence_nr();
  }
};

class Pass {
 public:
  Pass(const Tensors& roots, const Tensors& gradients, BackwardOptions options,
       const Tensors* inputs)
      : options_(options), inputs_(inputs) {
    check(gradients.empty() || gradients.size() == roots.size(), "backward",
          "expected a gradient for each of {} roots (an undefined one for 1), got {}", roots.size(),
          gradients.size());
    discover(roots);
    if (inputs_) keep_only_paths_to_inputs();
    const GradMode mode(options_.create_graph);
    for (std::size_t i = 0; i < roots.size(); ++i) {
      deliver(*roots_[i], edge_of(roots[i]).output_nr,
              start_of(roots[i], gradients.empty() ? Tensor() : gradients[i]), "backward");
    }
  }

  void run() {
    GradMode mode(options_.create_graph);
    Autocast off(DType::f32);
    for (Task* root : roots_) {
      if (--root->pending == 0 && root->is_wanted()) ready_.push(root);
    }
    while (!ready_.empty()) {
      Task& task = *ready_.top();
      ready_.pop();
      run_hooks(*task.node, task.gradients);
      for (std::size_t i : task.requested) {
        const int output_nr = edge_of((*inputs_)[i]).output_nr;
        captured_[i] = task.gradients[static_cast<std::size_t>(output_nr)];
      }
      if (task.needed) run_node(task);
    }
  }

  /// grad()'s answer, in the order of the inputs.
  Tensors& captured() { return captured_; }

 private:
  static Edge checked_root(const Tensor& root) {
    check(root.requires_grad(), "backward",
          "expected a tensor that depends on one that requires grad, got {}: call "
          "requires_grad_() on a leaf before the forward pass, and do not compute it under NoGrad",
          root.defined() ? fmt::format("one of shape {} without history", root.shape())
                         : std::string("an undefined tensor"));
    return edge_of(root);
  }

  static Tensor start_of(const Tensor& root, const Tensor& gradient) {
    if (!gradient.defined()) {
      check(root.numel() == 1, "backward",
            "expected a tensor of one element, got shape {}: reduce it first (sum, mean), or pass "
            "the gradient of that shape",
            root.shape());
      return engine_ops::ones_like(root.detach());
    }
    return checked_gradient("backward", TensorMeta(root), gradient);
  }

  void discover(const Tensors& roots) {
    std::vector<Task*> found;
    const auto visit = [&](Node* node) -> Task* {
      if (!node) return nullptr;
      const auto [entry, is_new] = tasks_.try_emplace(node);
      Task& task = entry->second;
      ++task.pending;
      if (is_new) {
        task.node = node;
        task.gradients.resize(node->outputs().size());
        found.push_back(&task);
      }
      return &task;
    };
    for (const Tensor& root : roots) roots_.push_back(visit(checked_root(root).node.get()));
    while (!found.empty()) {
      Task& task = *found.back();
      found.pop_back();
      const auto edges = task.node->edges();
      task.next.reserve(edges.size());
      for (const Edge& edge : edges) task.next.push_back(visit(edge.node.get()));
    }
  }

  /// An edge leads to a smaller sequence number (or to a sink), so one sweep from the oldest node
  /// finds every node with a requested input behind it.
  void keep_only_paths_to_inputs() {
    captured_.resize(inputs_->size());
    for (std::size_t i = 0; i < inputs_->size(); ++i) {
      const Tensor& input = (*inputs_)[i];
      check(input.requires_grad(), "grad",
            "expected inputs that require grad, got one of shape {} that does not: call "
            "requires_grad_() before the forward pass",
            input.shape());
      const auto entry = tasks_.find(edge_of(input).node.get());
      if (entry != tasks_.end()) entry->second.requested.push_back(i);
    }
    std::vector<Task*> oldest_first;
    oldest_first.reserve(tasks_.size());
    for (auto& [node, task] : tasks_) {
      task.needed = false;
      if (!task.next.empty()) oldest_first.push_back(&task);
    }
    std::sort(oldest_first.begin(), oldest_first.end(), OlderFirst());
    for (Task* task : oldest_first) {
      for (const Task* next : task->next) task->needed |= next && next->is_wanted();
    }
  }

  void run_hooks(Node& node, Tensors& gradients) {
    for (std::size_t i = 0, n = node.hooks().size(); i < n; ++i) {
      const auto [output_nr, hook] = node.hooks()[i];  // a copy: the hook may register another
      Tensor& gradient = gradients[static_cast<std::size_t>(output_nr)];
      if (!gradient.defined()) continue;
      const Tensor own = hook(gradient);
      if (own.defined()) gradient = checked_gradient("register_hook", TensorMeta(gradient), own);
    }
    for (const auto& [output_nr, retained] : node.retained()) {
      const Tensor& g = gradients[static_cast<std::size_t>(output_nr)];
      const std::shared_ptr<Tensor> slot = retained.lock();
      if (g.defined() && slot)
        *slot = slot->defined() ? engine_ops::add(*slot, g) : engine_ops::clone(g);
    }
  }

  void run_node(Task& task) {
    Node& node = *task.node;
    check(!node.released(), "backward",
          "expected a graph that still holds its saved tensors, got one that an earlier backward "
          "has freed (at {}): pass retain_graph = true to the earlier call",
          node.name());
    const auto edges = node.edges();
    Needs needs;
    for (std::size_t i = 0; i < edges.size(); ++i) {
      if (task.next[i] && task.next[i]->is_wanted()) needs.add(i);
    }
    Tensors gradients = std::move(task.gradients);
    const bool any = std::any_of(gradients.begin(), gradients.end(),
                                 [](const Tensor& g) { return g.defined(); });
    const Span span([&node]() -> const Node& { return node; });
    const ScopedValue current(running, &node);
    Tensors results;
    if (any) {
      results = node.apply(gradients, needs);
      check(edges.empty() || results.size() == edges.size(), node.name(),
            "expected {} gradients of its gradient rule, one for each input, got {}", edges.size(),
            results.size());
    }
    if (!options_.retain_graph && !options_.create_graph) node.release();
    gradients.clear();
    for (std::size_t i = 0; i < edges.size(); ++i) {
      Task* next = task.next[i];
      if (!next) continue;
      if (any && results[i].defined() && needs[i]) {
        if (anomaly_enabled()) check_finite(node, results[i], i);
        deliver(*next, edges[i].output_nr, std::move(results[i]), node.name());
      }
      if (--next->pending == 0 && next->is_wanted()) ready_.push(next);
    }
  }

  static void check_finite(const Node& node, const Tensor& gradient, std::size_t input) {
    if (engine_ops::all_finite(gradient.detach())) return;
    std::string origin = node.origin();
    if (origin.empty()) origin = " (unknown: run the forward pass in anomaly mode too)";
    fail("backward",
         "expected finite gradients, but {} made a NaN or infinite one for its input {} of shape "
         "{}. The forward call was made at:{}",
         node.name(), input, gradient.shape(), origin);
  }

  /// Adds a gradient to one of the task's slots.
  void deliver(Task& task, int output_nr, Tensor gradient, const char* from) const {
    checked_gradient(from, task.node->outputs()[static_cast<std::size_t>(output_nr)], gradient);
    Tensor& slot = task.gradients[static_cast<std::size_t>(output_nr)];
    if (!slot.defined()) {
      slot = std::move(gradient);
    } else if (!options_.create_graph && engine_ops::is_exclusive(slot)) {
      engine_ops::add_(slot, gradient);
    } else {
      slot = engine_ops::add(slot, gradient);
    }
  }

  BackwardOptions options_;
  const Tensors* inputs_;  ///< null: accumulate into every leaf
  std::vector<Task*> roots_;
  std::unordered_map<Node*, Task, std::hash<Node*>, std::equal_to<>,
                     PoolAllocator<std::pair<Node* const, Task>>>
      tasks_;
  std::priority_queue<Task*, std::vector<Task*>, OlderFirst> ready_;
  Tensors captured_;
};

}  // namespace

void backward(Tensors roots, const Tensors& gradients, BackwardOptions options) {
  Pass(roots, gradients, options, nullptr).run();
}

Tensors grad(Tensors roots, Tensors inputs, const Tensors& gradients, BackwardOptions options,
             bool allow_unused) {
  Pass pass(roots, gradients, options, &inputs);
  pass.run();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    check(allow_unused || pass.captured()[i].defined(), "grad",
          "expected inputs that the roots depend on, but input {} of shape {} is not one: pass "
          "allow_unused = true to get an undefined tensor for it",
          i, inputs[i].shape());
  }
  return std::move(pass.captured());
}

Node* current_node() { return running; }

}  // namespace invar
