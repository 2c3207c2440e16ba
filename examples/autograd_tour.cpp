// A tour of the engine: what is recorded in the forward pass, what flows back, and what goes wrong
// when a rule is broken. Run it and read the source beside what it prints.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <invar/invar.hpp>
#include <set>

using namespace invar;

namespace {

void title(const char* text) { fmt::print("\n== {}\n\n", text); }

/// Prints the graph behind a tensor, one node per line, inputs indented.
void print_graph(const NodePtr& node, int depth, std::set<const Node*>& seen) {
  fmt::print("{:{}}{}", "", 2 * depth, node->name());
  if (node->sequence_nr() != UINT64_MAX) fmt::print(" #{}", node->sequence_nr());
  if (!seen.insert(node.get()).second && !node->edges().empty()) {
    fmt::print(" (see above)\n");
    return;
  }
  fmt::print(" -> {}\n", node->outputs()[0].shape);
  for (const Edge& edge : node->edges()) {
    if (edge.node) print_graph(edge.node, depth + 1, seen);
  }
}

void print_graph(const Tensor& tensor) {
  std::set<const Node*> seen;
  print_graph(tensor.grad_fn(), 1, seen);
}

void scalars() {
  title("1. Scalars: a formula and its derivatives");
  const Tensor a = tensor({-4.0}, {.dtype = DType::f64, .requires_grad = true});
  const Tensor b = tensor({2.0}, {.dtype = DType::f64, .requires_grad = true});
  const Tensor c = a * b + pow(b, 3);
  const Tensor loss = square(relu(c + 1.0)) + c / 2.0;
  fmt::print("a = -4, b = 2, c = ab + b^3, loss = relu(c + 1)^2 + c/2\n");
  fmt::print("loss = {}\n\nThe graph, from the loss to the leaves:\n", loss.item());
  print_graph(loss);
  loss.backward();
  fmt::print("\nbackward() walked it, youngest node first, and left\n");
  fmt::print("  d loss / d a = {}   (2 (c+1) b + b/2 = 5)\n", a.grad().item());
  fmt::print("  d loss / d b = {}   ((2 (c+1) + 1/2) (a + 3 b^2) = 20)\n", b.grad().item());
}

void tensors() {
  title("2. Tensors: vector-Jacobian products, broadcasting, views");
  manual_seed(0);
  const Tensor x = randn({3, 2});
  const Tensor weight = randn({2, 4}, {.requires_grad = true});
  const Tensor bias = zeros({4}, {.requires_grad = true});
  const Tensor y = tanh(sum(unsqueeze(x, 2) * weight, {1}) + bias);
  fmt::print("y = tanh(x W + b) =\n{}\n", y);
  sum(square(y)).backward();
  fmt::print(
      "\nd sum(y^2) / d b: broadcast on the way in, so summed over rows on the way out\n{}\n",
      bias.grad());
  const Tensor row = select(weight.detach(), 0, 1);
  fmt::print("\nrow 1 of W is a view: same storage ({}), offset {}, strides {}\n",
             row.storage() == weight.storage(), row.offset(), row.strides());
}

void higher_orders() {
  title("3. Gradients of gradients");
  const Tensor x = tensor({0.5}, {.dtype = DType::f64, .requires_grad = true});
  Tensor derivative = sin(x);
  fmt::print("sin(0.5)      = {:+.6f}\n", derivative.item());
  for (const char* name : {"first", "second", "third", "fourth"}) {
    derivative = grad({derivative}, {x}, {}, {.create_graph = true})[0];
    fmt::print("{:<6} deriv. = {:+.6f}\n", name, derivative.item());
  }
}

void hooks() {
  title("4. Hooks: watching gradients pass");
  const Tensor x = tensor({1.0, 2.0, 3.0}, {.requires_grad = true});
  const Tensor hidden = square(x);
  hidden.register_hook([](const Tensor& g) {
    fmt::print("gradient of the hidden tensor: {}; passing on half of it\n", g);
    return g * 0.5;
  });
  x.register_post_accumulate_grad_hook(
      [](const Tensor& leaf) { fmt::print("leaf complete:                 {}\n", leaf.grad()); });
  sum(hidden * 3.0).backward();
}

void long_chain() {
  title("5. A chain of a million nodes: nothing recurses");
  const Tensor x = tensor({1.0}, {.requires_grad = true});
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = y + 1.0;
  y.backward();
  fmt::print("y = {}, dy/dx = {}\n", y.item(), x.grad().item());
}

template <class F>
void expect_error(const char* what, const F& f) {
  try {
    f();
    fmt::print("{}: no error?\n", what);
  } catch (const Error& error) {
    fmt::print("{}:\n    {}\n", what, error.what());
  }
}

void errors() {
  title("6. What the engine refuses, and how it says so");
  const Tensor x = tensor({1.0, 2.0}, {.requires_grad = true});
  expect_error("backward twice", [&] {
    const Tensor y = sum(exp(x));
    y.backward();
    y.backward();
  });
  expect_error("changing a saved tensor in place", [&] {
    const Tensor hidden = exp(x);
    const Tensor y = sum(square(hidden));
    {
      NoGrad guard;
      mul_(hidden, 2.0);
    }
    y.backward();
  });
  expect_error("writing to a leaf that requires grad", [&] { add_(x, 1.0); });
  expect_error("backward from a vector", [&] { exp(x).backward(); });
  expect_error("backward without history", [&] { sum(x.detach()).backward(); });
  expect_error("shapes that do not broadcast", [&] { add(x, ones({3})); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Builds small graphs and prints them, what flows back through them, and what is refused.");
  CLI11_PARSE(app, argc, argv);
  try {
    scalars();
    tensors();
    higher_orders();
    hooks();
    long_chain();
    errors();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
