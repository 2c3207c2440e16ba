#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/saved_tensor.hpp>

namespace invar {
namespace {

thread_local const char* recomputed = nullptr;  // the operation whose output is being made anew

}  // namespace

Tensor Recipe::get() {
  const ScopedValue guard(recomputed, op);
  if (!made.defined()) made = make();
  return made;
}

void set_recipe(const Tensor& y, const std::shared_ptr<Recipe>& recipe) {
  y.impl().autograd->recipe = recipe;
  y.impl().autograd->recipe_version = y.version();
}

bool has_recipe(const Tensor& y) {
  return y.requires_grad() && !y.impl().autograd->recipe.expired() &&
         y.impl().autograd->recipe_version == y.version();
}

SavedTensor::SavedTensor(const Tensor& input) : SavedTensor(input, -1) {
  if (!has_recipe(input)) return;
  tensor_ = {};
  recipe_ = input.impl().autograd->recipe.lock();
  source_ = edge_of(input);
}

Tensor SavedTensor::get() const {
  Edge source = source_;
  Tensor tensor = tensor_;
  if (recipe_) {
    const NoGrad guard;
    tensor = recipe_->get();
  } else if (!tensor.defined()) {
    return {};
  } else if (tensor.version() != version_) {
    const Node* node = current_node();
    fail(recomputed ? recomputed
         : node     ? node->name()
                    : "saved tensor",
         "expected a saved tensor of shape {} at version {}, got version {}: it was changed in "
         "place after the forward pass; use an out-of-place operation, or clone it before changing "
         "it",
         tensor.shape(), version_, tensor.version());
  }
  if (!grad_enabled()) return tensor;
  if (output_nr_ >= 0) {
    internal_check(current_node() != nullptr, "saved tensor", "read outside of a gradient rule");
    source = {NodePtr(current_node()), output_nr_};
  }
  if (!source.node) return tensor;
  tensor = tensor.detach();
  set_history(tensor, std::move(source));
  return tensor;
}

}  // namespace invar
