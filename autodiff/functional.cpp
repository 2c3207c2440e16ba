#include <invar/autodiff/functional.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/view.hpp>
#include <vector>

namespace invar {
namespace {

/// f at inputs that want gradients. With `create_graph` they are views of the caller's, which keeps
/// the history and tells an input given twice apart.
struct Evaluation {
  Tensors inputs, outputs;
};

Evaluation evaluate(const char* op, const TensorsFunction& f, const Tensors& inputs,
                    bool create_graph) {
  Evaluation e;
  for (const Tensor& x : inputs) {
    check(is_floating(x.dtype()), op, "expected inputs of floating dtypes, got {}", x.dtype());
    e.inputs.push_back(create_graph && x.requires_grad() ? view(x, x.shape())
                                                         : x.detach().requires_grad_());
  }
  e.outputs = f(e.inputs);
  for (const Tensor& y : e.outputs) {
    check(is_floating(y.dtype()), op, "expected outputs of floating dtypes, got {}", y.dtype());
  }
  return e;
}

void check_like(const char* op, const Tensors& v, const Tensors& like, const char* what) {
  check(v.size() == like.size(), op, "expected {} tensors v, one per {}, got {}", like.size(), what,
        v.size());
  for (std::size_t i = 0; i < v.size(); ++i) {
    check(v[i].shape() == like[i].shape() && v[i].dtype() == like[i].dtype(), op,
          "expected v[{}] like {} {}, {} of {}, got {} of {}", i, what, i, like[i].shape(),
          like[i].dtype(), v[i].shape(), v[i].dtype());
  }
}

/// sum_k (d roots[k] / d inputs[i])^T v[k], zeros where there is no dependence.
Tensors pull_back(const Tensors& roots, const Tensors& inputs, const Tensors& v,
                  BackwardOptions options) {
  Tensors connected, vectors;
  for (std::size_t k = 0; k < roots.size(); ++k) {
    if (!roots[k].requires_grad()) continue;
    connected.push_back(roots[k]);
    vectors.push_back(v[k]);
  }
  Tensors result;
  if (connected.empty()) {
    result.resize(inputs.size());
  } else {
    result = grad(connected, inputs, vectors, options, /*allow_unused=*/true);
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!result[i].defined()) result[i] = zeros_like(inputs[i].detach());
  }
  return result;
}

Tensors with_history_if(bool create_graph, Tensors tensors) {
  if (!create_graph) {
    for (Tensor& t : tensors) t = t.detach();
  }
  return tensors;
}

Tensor only_output(const char* op, const Tensors& outputs) {
  check(outputs.size() == 1, op, "expected a function with one output, got {}", outputs.size());
  return outputs[0];
}

/// d y / d x[j], [y.shape .., x[j].shape ..].
Tensors jacobian_of(const Tensor& y, const Tensors& x, bool create_graph) {
  std::vector<Tensors> rows(x.size());
  const Tensor basis = eye(y.numel(), -1, y.options());
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const Tensor v = reshape(select(basis, 0, i), y.shape());
    const Tensors row =
        pull_back({y}, x, {v}, {.retain_graph = true, .create_graph = create_graph});
    for (std::size_t j = 0; j < x.size(); ++j) rows[j].push_back(row[j]);
  }
  Tensors result;
  for (std::size_t j = 0; j < x.size(); ++j) {
    Dims shape = y.shape();
    for (const std::int64_t size : x[j].shape()) shape.push_back(size);
    result.push_back(rows[j].empty() ? zeros(shape, x[j].options())
                                     : reshape(stack(rows[j]), shape));
  }
  return result;
}

/// What a scalar function's second derivatives begin with.
struct Gradient {
  Tensors x, outputs, gradient;
};

Gradient gradient_of(const char* op, const TensorsFunction& f, const Tensors& inputs,
                     bool create_graph) {
  auto [x, outputs] = evaluate(op, f, inputs, create_graph);
  const Tensor y = only_output(op, outputs);
  check(y.numel() == 1, op, "expected a function with a one-element output, got {}", y.shape());
  Tensors gradient = pull_back({y}, x, {ones_like(y.detach())}, {.create_graph = true});
  return {std::move(x), std::move(outputs), std::move(gradient)};
}

}  // namespace

Derivatives vjp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph) {
  const GradMode recording(true);
  const auto [x, y] = evaluate("vjp", f, inputs, create_graph);
  check_like("vjp", v, y, "output");
  Tensors gradients = pull_back(y, x, v, {.create_graph = create_graph});
  return {with_history_if(create_graph, y), std::move(gradients)};
}

// g(u) = J^T u is linear in u, so its own vjp with v is J v, at any u.
Derivatives jvp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph) {
  const GradMode recording(true);
  const auto [x, y] = evaluate("jvp", f, inputs, create_graph);
  check_like("jvp", v, x, "input");
  Tensors u;
  for (const Tensor& output : y) u.push_back(zeros_like(output.detach()).requires_grad_());
  const Tensors g = pull_back(y, x, u, {.create_graph = true});
  Tensors derivatives = pull_back(g, u, v, {.create_graph = create_graph});
  return {with_history_if(create_graph, y), std::move(derivatives)};
}

Tensors jacobian(const TensorsFunction& f, const Tensors& inputs, bool create_graph) {
  const GradMode recording(true);
  const auto [x, outputs] = evaluate("jacobian", f, inputs, create_graph);
  return jacobian_of(only_output("jacobian", outputs), x, create_graph);
}

Derivatives hvp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph) {
  const GradMode recording(true);
  const auto [x, outputs, gradient] = gradient_of("hvp", f, inputs, create_graph);
  check_like("hvp", v, x, "input");
  // H is symmetric.
  Tensors derivatives = pull_back(gradient, x, v, {.create_graph = create_graph});
  return {with_history_if(create_graph, outputs), std::move(derivatives)};
}

std::vector<Tensors> hessian(const TensorsFunction& f, const Tensors& inputs, bool create_graph) {
  const GradMode recording(true);
  const auto [x, outputs, gradient] = gradient_of("hessian", f, inputs, create_graph);
  std::vector<Tensors> blocks;
  for (const Tensor& g : gradient) blocks.push_back(jacobian_of(g, x, create_graph));
  return blocks;
}

}  // namespace invar
