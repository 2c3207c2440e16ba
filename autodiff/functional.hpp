#pragma once
// Derivatives of functions, where core/autograd/engine.hpp has those of tensors: names and meaning
// are those of torch.autograd.functional.
//
//   y_k = f(x_1, .., x_m),  J the matrix of all d y / d x
//
//   vjp        J^T v    one backward pass
//   jvp        J v      v -> J^T v is linear, and its transpose is J: two backward passes (the
//                       "double-vjp identity"), so f's gradient rules must be differentiable
//   jacobian   J        one backward pass per element of y
//   hvp        H v      of a scalar f: two backward passes
//   hessian    H        of a scalar f: one backward pass, and one more per element of the inputs
//
// f is called with the inputs themselves, cut off from their history, so that a result has one only
// with `create_graph`: then it leads back to the inputs and to whatever f uses besides. An input
// that f does not depend on has derivative 0. Every input and output is of a floating dtype.
//
//   const auto f = [](const Tensors& x) { return sum(exp(x[0]) * x[1]); };
//   const Tensor slope = jvp(f, {a, b}, {da, db}).derivatives[0];
#include <invar/autodiff/function.hpp>
#include <invar/core/tensor.hpp>
#include <vector>

namespace invar {

struct Derivatives {
  Tensors outputs;      ///< f(inputs)
  Tensors derivatives;  ///< see each function
};

/// derivatives[i] = sum_k (d y_k / d x_i)^T v[k], of x_i's shape; v[k] has y_k's.
Derivatives vjp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph = false);

/// derivatives[k] = sum_i (d y_k / d x_i) v[i], of y_k's shape; v[i] has x_i's.
Derivatives jvp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph = false);

/// d y / d x_i for the one output of f: [y.shape .., x_i.shape ..].
Tensors jacobian(const TensorsFunction& f, const Tensors& inputs, bool create_graph = false);

/// derivatives[i] = sum_j d^2 y / dx_i dx_j v[j] for the one, one-element output of f.
Derivatives hvp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph = false);

/// blocks[i][j] = d^2 y / dx_i dx_j for the one, one-element output of f: [x_i.shape ..,
/// x_j.shape ..].
std::vector<Tensors> hessian(const TensorsFunction& f, const Tensors& inputs,
                             bool create_graph = false);

// The same for functions that return one tensor.
template <ReturnsTensor F>
Derivatives vjp(F f, const Tensors& inputs, const Tensors& v, bool create_graph = false) {
  return vjp(returning_one(f), inputs, v, create_graph);
}
template <ReturnsTensor F>
Derivatives jvp(F f, const Tensors& inputs, const Tensors& v, bool create_graph = false) {
  return jvp(returning_one(f), inputs, v, create_graph);
}
template <ReturnsTensor F>
Tensors jacobian(F f, const Tensors& inputs, bool create_graph = false) {
  return jacobian(returning_one(f), inputs, create_graph);
}
template <ReturnsTensor F>
Derivatives hvp(F f, const Tensors& inputs, const Tensors& v, bool create_graph = false) {
  return hvp(returning_one(f), inputs, v, create_graph);
}
template <ReturnsTensor F>
std::vector<Tensors> hessian(F f, const Tensors& inputs, bool create_graph = false) {
  return hessian(returning_one(f), inputs, create_graph);
}

}  // namespace invar
