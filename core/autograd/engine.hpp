#pragma once
// The engine: walks the graph of nodes (node.hpp) from the roots to the leaves.
//
//   1. Discover: from the roots along the edges, count for each node how many edges lead to it.
//   2. Run: a node is ready once all its edges have delivered; of the ready nodes the youngest
//      (highest sequence number) runs first, sinks before everything. It maps its gradients to
//      those of its inputs, which are added up in the gradient slots of the next nodes.
//   3. Unless the graph is retained, a node drops its saved tensors as soon as it has run.
//
// Everything runs on the calling thread and nothing recurses. A hook or a gradient rule may itself
// run the engine.
#include <invar/core/autograd/node.hpp>

namespace invar {

struct BackwardOptions {
  bool retain_graph = false;  ///< keep saved tensors for another backward
  bool create_graph = false;  ///< record the backward pass itself; implies retain_graph
};

/// Accumulates sum_k gradients[k] . d roots[k] / d leaf into the .grad() of every leaf. An
/// undefined gradient stands for 1 and needs a root of one element. Roots are kept for the
/// duration, whatever hooks do to the caller's.
void backward(Tensors roots, const Tensors& gradients, BackwardOptions options = {});

/// The same sums for `inputs` (leaves or interior tensors), returned instead of accumulated; only
/// what lies between roots and inputs is computed. An input that no root depends on gets an
/// undefined tensor if `allow_unused`, otherwise Error. Post-accumulate hooks do not run. Results
/// may share memory with each other and with `gradients`: clone() before writing to one.
Tensors grad(Tensors roots, Tensors inputs, const Tensors& gradients = {},
             BackwardOptions options = {}, bool allow_unused = false);

/// The node that the engine is running in this thread, or null.
Node* current_node();

}  // namespace invar
