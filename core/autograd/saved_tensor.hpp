#pragma once
// SavedTensor: a tensor that a gradient rule keeps until backward.
//
//   SavedTensor(x)           an input: kept with its history, so that double backward reaches it
//   SavedTensor::output(y)   the operation's own output: kept without history (the node must not
//                            own itself); get() gives the history back
//
// get() throws Error if the bytes were changed in place since (see Note [Version counter]).
//
// Note [Recomputing]: what a graph keeps until backward is most of the memory that training takes.
// A tensor that is cheap to make from tensors that are kept anyway may carry a recipe: whoever
// saves it keeps the recipe in its place, and get() makes the same bits again. Batch-norm's output
// is such a tensor: one pass over its input, which its own gradient rule keeps. What the first of
// its users has had made serves the others, until the rule of the operation itself, which runs
// after them all, has the recipe forget it. So whoever saves such a tensor needs its operation's
// inputs unchanged: error messages name that operation. Recipes do not use each other.
#include <invar/core/autograd/node.hpp>

namespace invar {

/// Lets `y`, which has a history, be recomputed. Its node owns the recipe (and releases it), and so
/// does everybody who has saved y.
void set_recipe(const Tensor& y, const std::shared_ptr<Recipe>& recipe);
/// True iff saving y keeps its recipe: it has one and was not changed in place since.
bool has_recipe(const Tensor& y);

class SavedTensor {
 public:
  SavedTensor() = default;
  /// An undefined tensor may be saved; get() returns it.
  SavedTensor(const Tensor& input);
  /// Undefined unless needed: a factor is needed if the other one requires grad.
  static SavedTensor when(bool needed, const Tensor& x) { return needed ? x : SavedTensor(); }
  /// The `output_nr`-th output of the node that is about to be recorded.
  static SavedTensor output(const Tensor& y, int output_nr = 0) {
    return SavedTensor(y.detach(), output_nr);
  }

  /// Only inside a gradient rule that the engine runs.
  Tensor get() const;
  bool defined() const { return tensor_.defined() || recipe_; }

 private:
  SavedTensor(const Tensor& tensor, int output_nr)
      : tensor_(tensor), version_(tensor.defined() ? tensor.version() : 0), output_nr_(output_nr) {}

  Tensor tensor_;  ///< undefined if there is a recipe
  std::uint32_t version_ = 0;
  int output_nr_ = -1;  ///< -1: not an output
  std::shared_ptr<Recipe> recipe_;
  Edge source_;  ///< the history of what the recipe makes
};

}  // namespace invar
