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

Tensors without_history(Tensors tensors, bool keep) {
  if (!keep) {
    for (Tensor& t : tensors) t = t.detach();
  }
  return tensors;
}

Tensor only_output(const char* op, const Tensors& outputs) {
  check(outputs.size() == 1, op, "expected a function with one output, got {}", outputs.size());
  return outputs[0];
}

}  // namespace

Derivatives vjp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph) {
  const GradMode recording(true);
  const auto [x, y] = evaluate("vjp", f, inputs, create_graph);
  check_like("vjp", v, y, "output");
  Tensors gradients = pull_back(y, x, v, {.create_graph = create_graph});
  return {without_history(y, create_graph), std::move(gradients)};
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
  return {without_history(y, create_graph), std::move(derivatives)};
}

Tensors jacobian(const TensorsFunction& f, const Tensors& inputs, bool create_graph) {
  const GradMode recording(true);
  const auto [x, outputs] = evaluate("jacobian", f, inputs, create_graph);
  const Tensor y = only_output("jacobian", outputs);
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

Derivatives hvp(const TensorsFunction& f, const Tensors& inputs, const Tensors& v,
                bool create_graph) {
  const GradMode recording(true);
  const auto [x, outputs] = evaluate("hvp", f, inputs, create_graph);
  const Tensor y = only_output("hvp", outputs);
  check(y.numel() == 1, "hvp", "expected a function with a one-element output, got {}", y.shape());
  check_like("hvp", v, x, "input");
  const Tensors gradient = pull_back({y}, x, {ones_like(y.detach())}, {.create_graph = true});
  // H is symmetric.
  Tensors derivatives = pull_back(gradient, x, v, {.create_graph = create_graph});
  return {without_history(outputs, create_graph), std::move(derivatives)};
}

}  // namespace invar
