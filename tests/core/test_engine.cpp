// The autograd engine: what it computes, when hooks run, who owns gradients, what it refuses.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <thread>

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;

namespace {

constexpr TensorOptions kDouble{.dtype = DType::f64};
constexpr TensorOptions kLeaf{.dtype = DType::f64, .requires_grad = true};

/// The message of the Error that f throws; empty if it throws none.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::vector<double> values(const Tensor& x) {
  const Tensor dense = contiguous(to(x.detach(), DType::f64));
  const auto* data = dense.data<double>();
  return {data, data + dense.numel()};
}

}  // namespace

TEST_CASE("a chain of a million nodes backpropagates and is freed without recursion",
          "[unit][smoke]") {
  const std::size_t before = allocator().stats().in_use;
  {
    const Tensor x = tensor({2.0}, kLeaf);
    Tensor y = x;
    for (int i = 0; i < 1'000'000; ++i) y = y + 1.0;
    y.backward();
    CHECK(y.item() == 1'000'002);
    CHECK(x.grad().item() == 1);
    // A second chain is freed without ever having been walked.
    for (int i = 0; i < 1'000'000; ++i) y = -y;
  }
  CHECK(allocator().stats().in_use == before);
}

TEST_CASE("a long chain of tensors that could be made anew does not recurse", "[unit]") {
  const Tensor x = tensor(std::vector{1.0, 2.0, 3.0, 5.0}, {2, 2}, kLeaf);
  Tensor y = x;
  for (int i = 0; i < 40'000; ++i) y = batch_norm(y, {}, {});
  sum(y * y).backward();
  CHECK(x.grad().defined());
}

TEST_CASE("contributions of all paths add up", "[unit][smoke]") {
  const Tensor x = tensor({3.0}, kLeaf);
  const Tensor y = x * x * x + x * 2.0 + exp(x) - exp(x);
  y.backward();
  CHECK(x.grad().item() == 3 * 9 + 2);
  SECTION("backward accumulates") {
    (x * 5.0).backward();
    CHECK(x.grad().item() == 34);
  }
  SECTION("the same tensor as both operands") {
    x.set_grad({});
    (x * x).backward();
    CHECK(x.grad().item() == 6);
  }
}

TEST_CASE("several roots", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const Tensor a = sum(x * 2.0), b = square(x);
  backward({a, b}, {Tensor(), tensor({10.0, 100.0}, kDouble)});
  CHECK(values(x.grad()) == std::vector<double>{22, 402});
  x.set_grad({});
  const Tensor c = sum(x);
  backward({c, c}, {}, {.retain_graph = true});
  CHECK(values(x.grad()) == std::vector<double>{2, 2});
  // A root that lies behind another root.
  x.set_grad({});
  const Tensor inner = sum(x), outer = inner * 3.0;
  backward({outer, inner}, {});
  CHECK(values(x.grad()) == std::vector<double>{4, 4});
  // What adding up their gradients would record is not wanted.
  x.set_grad({});
  const Tensor gradient = tensor({1.0, 2.0}, kLeaf);
  backward({x, x}, {gradient, gradient});
  CHECK(values(x.grad()) == std::vector<double>{2, 4});
  CHECK_FALSE(x.grad().requires_grad());
}

TEST_CASE("gradients belong to their leaf alone", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf), y = tensor({3.0, 4.0}, kLeaf);
  const Tensor seed = ones({2}, kDouble);
  const Tensor z = x + y;
  z.backward(seed);
  mul_(x.grad(), 100.0);
  CHECK(values(y.grad()) == std::vector<double>{1, 1});
  CHECK(values(seed) == std::vector<double>{1, 1});
  mul_(y.grad(), 7.0);
  CHECK(values(x.grad()) == std::vector<double>{100, 100});
}

TEST_CASE("a gradient in somebody else's memory is copied, not written to", "[unit]") {
  std::vector<double> table{10, 20};
  const auto foreign = [&](const Tensor&) { return from_blob(table.data(), {2}, kDouble); };
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  SECTION("from a rule") {
    const auto mine = [&] {
      return record("mine", {x}, ones({2}, kDouble),
                    [&](const Tensor& g) -> Tensors { return {foreign(g)}; });
    };
    mine().backward(ones({2}, kDouble));
    (mine() + mine()).backward(ones({2}, kDouble));
  }
  SECTION("from a hook") {
    x.register_hook(foreign);
    for (int i = 0; i < 3; ++i) sum(x * 2.0).backward();
  }
  CHECK(values(x.grad()) == std::vector<double>{30, 60});
  CHECK(table == std::vector<double>{10, 20});
}

TEST_CASE("differentiable gradients belong to their leaf alone, too", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf), y = tensor({3.0, 4.0}, kLeaf);
  const Tensor product = sum((x + y) * (x + y));
  product.backward({}, false, /*create_graph=*/true);
  CHECK(values(grad({sum(x.grad())}, {y}, {}, {.retain_graph = true})[0]) ==
        std::vector<double>{2, 2});
  {
    NoGrad guard;
    mul_(x.grad(), 100.0);
  }
  CHECK(values(y.grad()) == std::vector<double>{8, 12});
  x.set_grad({});
  y.set_grad({});
}

TEST_CASE("a gradient from an expanded or sliced result is dense", "[unit]") {
  const Tensor x = tensor({1.0, 2.0, 3.0}, kLeaf);
  sum(x).backward();  // g arrives expanded with stride 0
  CHECK(x.grad().is_contiguous());
  CHECK(x.grad().storage()->bytes() == 3 * sizeof(double));
}

TEST_CASE("a released graph", "[unit]") {
  const Tensor x = tensor({1.0}, kLeaf);
  const Tensor y = exp(x) * 2.0;
  SECTION("is refused, naming retain_graph") {
    y.backward();
    CHECK_THAT(error_of([&] { y.backward(); }),
               ContainsSubstring("[backward]") && ContainsSubstring("retain_graph"));
  }
  SECTION("is not released with retain_graph") {
    y.backward({}, /*retain_graph=*/true);
    y.backward();
    CHECK(std::abs(x.grad().item() - 4 * std::exp(1.0)) < 1e-12);
  }
  SECTION("of which a part was shared") {
    const Tensor shared = exp(x), a = shared * 2.0, b = shared * 3.0;
    a.backward();
    CHECK_THAT(error_of([&] { b.backward(); }), ContainsSubstring("at exp"));
  }
}

TEST_CASE("a saved tensor that was changed in place", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const Tensor hidden = exp(x);
  const Tensor y = sum(hidden * hidden);
  const auto write = [](const Tensor& t) {
    NoGrad guard;
    add_(t, 1.0);
  };
  SECTION("names the operation, the shape and the versions") {
    write(hidden);
    CHECK_THAT(error_of([&] { y.backward(); }),
               ContainsSubstring("[mul]") && ContainsSubstring("[2]") &&
                   ContainsSubstring("version 0") && ContainsSubstring("version 1"));
  }
  SECTION("is noticed through a view and through detach") {
    write(slice(hidden.detach(), 0, 0, 1));
    CHECK_THAT(error_of([&] { y.backward(); }), ContainsSubstring("changed in place"));
  }
  SECTION("does not matter once it is not needed") {
    const Tensor z = sum(hidden + hidden);
    write(x.detach());  // exp saves its output, not x
    z.backward();
    CHECK(x.grad().defined());
  }
  SECTION("does not matter for an operand whose partner needs no gradient") {
    const Tensor factor = tensor({2.0, 3.0}, kDouble), divisor = tensor({4.0, 8.0}, kDouble);
    const Tensor scaled = hidden * factor, ratio = scaled / divisor;
    write(hidden.detach());
    write(scaled.detach());
    write(ratio.detach());
    CHECK_THAT(error_of([&] { sum(ratio).backward(); }), ContainsSubstring("[exp]"));
  }
  SECTION("does not matter before a frozen weight") {
    const Tensor rows = reshape(x * 1.0, {1, 2}), image = reshape(x * 1.0, {1, 1, 1, 2});
    const Tensor weight = reshape(tensor({2.0, 3.0}, kDouble), {1, 2});
    const Tensor y = sum(linear(rows, weight)) + sum(matmul(rows, transpose(weight))) +
                     sum(conv2d(image, reshape(weight, {1, 1, 1, 2})));
    write(rows.detach());
    write(image.detach());
    y.backward();
    CHECK(x.grad().data<const double>()[0] == 6);
    CHECK(x.grad().data<const double>()[1] == 9);
  }
}

TEST_CASE("a saved tensor that is made anew", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  int made = 0;
  // y = 3 x, which square() saves.
  const auto make = [&made](const Tensor& x) { return ++made, x.detach() * 3.0; };
  const auto triple = [&](const Tensor& x) {
    const auto recipe = std::make_shared<Recipe>(
        Recipe{"triple", [=, x = SavedTensor(x)] { return make(x.get()); }});
    const Tensor y =
        record("triple", {x}, make(x), [recipe](const Tensor& g) -> Tensors { return {g * 3.0}; });
    set_recipe(y, recipe);
    return y;
  };
  Tensor y = triple(x);
  REQUIRE(has_recipe(y));
  const std::size_t with_y = allocator().stats().in_use;
  const Tensor z = sum(y * y);
  SECTION("is not kept, and made once for all who saved it") {
    y = {};
    CHECK(allocator().stats().in_use <= with_y);
    z.backward();
    CHECK(made == 2);
    CHECK(values(x.grad()) == std::vector<double>{18, 36});
  }
  SECTION("has its history when the backward pass is recorded") {
    const Tensor dx = grad({z}, {x}, {}, {.create_graph = true})[0];
    CHECK(values(dx) == std::vector<double>{18, 36});
    CHECK(values(grad({sum(dx * dx)}, {x})[0]) == std::vector<double>{2 * 18 * 18, 2 * 18 * 36});
  }
  SECTION("comes from what its operation saved: a change of that is noticed") {
    NoGrad guard;
    add_(x, 1.0);
    CHECK_THAT(error_of([&] { z.backward(); }),
               ContainsSubstring("[triple]") && ContainsSubstring("changed in place"));
  }
  SECTION("is kept as it is if it was changed before it was saved") {
    {
      NoGrad guard;
      add_(y, 1.0);
    }
    CHECK_FALSE(has_recipe(y));
    sum(y * y).backward();
    CHECK(values(x.grad()) == std::vector<double>{24, 42});
  }
  SECTION("keeps nothing alive once its graph is released") {
    z.backward();
    CHECK_FALSE(has_recipe(y));
  }
}

TEST_CASE("what backward cannot start from", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  CHECK_THAT(error_of([&] { exp(x).backward(); }),
             ContainsSubstring("one element") && ContainsSubstring("[2]"));
  CHECK_THAT(error_of([&] { sum(x.detach()).backward(); }),
             ContainsSubstring("requires grad") && ContainsSubstring("requires_grad_()"));
  CHECK_THAT(error_of([&] { Tensor().backward(); }), ContainsSubstring("undefined"));
  CHECK_THAT(error_of([&] { exp(x).backward(ones({3}, kDouble)); }),
             ContainsSubstring("[2]") && ContainsSubstring("[3]"));
  CHECK_THAT(error_of([&] { exp(x).backward(ones({2})); }), ContainsSubstring("f32"));
}

TEST_CASE("in-place operations on anything with history", "[unit]") {
  const Tensor leaf = tensor({1.0}, kLeaf);
  const Tensor result = leaf * 2.0;
  const Tensor plain = tensor({1.0}, kDouble);
  CHECK_THAT(error_of([&] { add_(leaf, 1.0); }), ContainsSubstring("[add_]") &&
                                                     ContainsSubstring("a leaf") &&
                                                     ContainsSubstring("use add,"));
  CHECK_THAT(error_of([&] { mul_(result, 2.0); }), ContainsSubstring("a result"));
  CHECK_THAT(error_of([&] { copy_(plain, leaf); }), ContainsSubstring("operands"));
  CHECK_THAT(error_of([&] { zero_(result); }),
             ContainsSubstring("[fill_]") && EndsWith("requires grad: write under NoGrad"));
  CHECK(leaf.item() == 1);
  CHECK(plain.item() == 1);
  add_(plain, 1.0);
  CHECK(plain.item() == 2);
  NoGrad guard;
  add_(leaf, 1.0);
  copy_(plain, leaf);
  CHECK(plain.item() == 2);
}

TEST_CASE("hooks", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  SECTION("of an interior tensor see the complete gradient and may replace it") {
    const Tensor h = x * 3.0;
    int calls = 0;
    h.register_hook([&](const Tensor& g) {
      ++calls;
      CHECK(values(g) == std::vector<double>{7, 7});
      return g * 2.0;
    });
    h.register_hook([&](const Tensor& g) {
      CHECK(values(g) == std::vector<double>{14, 14});
      return Tensor();
    });
    sum(h * 2.0 + h * 5.0).backward();
    CHECK(calls == 1);
    CHECK(values(x.grad()) == std::vector<double>{42, 42});
  }
  SECTION("of a leaf run before it accumulates") {
    x.register_hook([](const Tensor& g) { return g * 10.0; });
    sum(x).backward();
    sum(x).backward();
    CHECK(values(x.grad()) == std::vector<double>{20, 20});
  }
  SECTION("after accumulation run once per pass") {
    int calls = 0;
    x.register_post_accumulate_grad_hook([&](const Tensor& leaf) {
      ++calls;
      CHECK(leaf.is_same(x));
      CHECK(values(leaf.grad()) == std::vector<double>{6, 6});
    });
    sum(x * 1.0 + x * 2.0 + exp(x) * 0.0 + x * 3.0).backward();
    CHECK(calls == 1);
  }
  SECTION("must keep the shape and the dtype") {
    for (const Tensor& wrong : {ones({3}, kDouble), ones({2})}) {
      const Tensor h = exp(x);
      h.register_hook([wrong](const Tensor&) { return wrong; });
      CHECK_THAT(error_of([&] { sum(h).backward(); }), ContainsSubstring("[register_hook]"));
    }
  }
  SECTION("may register others, which run from the next pass on") {
    int calls = 0;
    const auto count = [&](const Tensor&) {
      ++calls;
      return Tensor();
    };
    const auto add_hooks = [&](const Tensor& g) {
      for (int i = 0; i < 100; ++i) x.register_hook(count);
      for (int i = 0; i < 100; ++i) {
        x.register_post_accumulate_grad_hook([&](const Tensor&) { ++calls; });
      }
      return g * 2.0;
    };
    x.register_hook(add_hooks);
    sum(x).backward();
    CHECK(values(x.grad()) == std::vector<double>{2, 2});
    CHECK(calls == 100);  // what waits after accumulation was registered in time
  }
  SECTION("may run backward themselves") {
    const Tensor w = tensor({5.0}, kLeaf);
    const Tensor h = x * 2.0;
    h.register_hook([&](const Tensor&) {
      GradMode record(true);  // the pass itself is not recorded
      square(w).backward();
      return Tensor();
    });
    sum(h).backward();
    CHECK(w.grad().item() == 10);
    CHECK(values(x.grad()) == std::vector<double>{2, 2});
  }
  SECTION("are refused where no gradient passes") {
    CHECK_THAT(error_of([&] { x.detach().register_hook([](const Tensor& g) { return g; }); }),
               ContainsSubstring("requires grad"));
  }
}

TEST_CASE("a sink runs after its last contribution and before older nodes", "[unit]") {
  const Tensor early = tensor({1.0}, kLeaf), late = tensor({1.0}, kLeaf);
  std::string order;
  early.register_post_accumulate_grad_hook([&](const Tensor&) { order += "early "; });
  late.register_post_accumulate_grad_hook([&](const Tensor&) { order += "late "; });
  Tensor h = early * 2.0;
  h.register_hook([&](const Tensor&) {
    order += "interior ";
    return Tensor();
  });
  (h * late).backward();
  CHECK(order == "late interior early ");
}

TEST_CASE("retain_grad keeps interior gradients without keeping the tensor alive", "[unit]") {
  const std::size_t before = allocator().stats().in_use;
  {
    const Tensor x = tensor({1.0, 2.0}, kLeaf);
    const Tensor h = x * 3.0;
    CHECK_FALSE(h.grad().defined());
    h.retain_grad();
    sum(square(h)).backward();
    CHECK(values(h.grad()) == std::vector<double>{6, 12});
    const Tensor k = x * 3.0;
    k.retain_grad();
    const Tensor loss = sum(k);
    loss.backward({}, /*retain_graph=*/true);
    loss.backward();
    CHECK(values(k.grad()) == std::vector<double>{2, 2});  // accumulates, as a leaf does
    const Tensor twice = x * 3.0;
    twice.retain_grad();
    twice.register_hook([](const Tensor& g) { return g * 5.0; });
    twice.retain_grad();  // once is enough
    sum(twice).backward();
    CHECK(values(twice.grad()) == std::vector<double>{5, 5});  // what the hooks have left
    NoGrad guard;
    mul_(k.grad(), 9.0);
    CHECK(values(x.grad()) == std::vector<double>{18 + 6 + 15, 36 + 6 + 15});
  }
  CHECK(allocator().stats().in_use == before);
}

TEST_CASE("a retained gradient with a history does not keep the graph alive", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const std::size_t before = allocator().stats().in_use;
  {
    const Tensor h = exp(x);
    h.retain_grad();
    const Tensors slope = grad({sum(square(h))}, {x}, {}, {.create_graph = true});
    CHECK(h.grad().defined());
  }
  CHECK(allocator().stats().in_use == before);
}

TEST_CASE("a hook may empty the list of roots", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  Tensors roots;
  {
    const Tensor h = exp(x);
    h.register_hook([&](const Tensor&) {
      roots.clear();
      return Tensor();
    });
    roots = {sum(h), sum(square(h))};
  }
  backward(roots, {});
  CHECK(std::abs(x.grad().data<const double>()[0] - (std::exp(1.0) + 2 * std::exp(2.0))) < 1e-12);
}

TEST_CASE("gradients of nothing add up", "[unit]") {
  const Tensor x = zeros({0, 3}, kLeaf);
  for (int i = 0; i < 2; ++i) sum(mean(x, {1})).backward();
  CHECK(x.grad().shape() == Dims{0, 3});
}

TEST_CASE("higher orders with create_graph", "[unit]") {
  const Tensor x = tensor({0.3}, kLeaf);
  Tensor d = sin(x) * exp(x);
  for (int order = 0; order < 3; ++order) d = grad({d}, {x}, {}, {.create_graph = true})[0];
  // (e^x sin x)''' = 2 e^x (cos x - sin x)
  CHECK(std::abs(d.item() - 2 * std::exp(0.3) * (std::cos(0.3) - std::sin(0.3))) < 1e-12);
  SECTION("backward leaves differentiable gradients") {
    square(x).backward({}, false, /*create_graph=*/true);
    CHECK(x.grad().requires_grad());
    CHECK(grad({x.grad()}, {x})[0].item() == 2);
    x.set_grad({});  // breaks the cycle leaf -> gradient -> graph -> leaf
  }
}

TEST_CASE("grad() with create_graph leaves nothing behind", "[unit]") {
  const std::size_t before = allocator().stats().in_use;
  {
    const Tensor x = tensor({0.3, 0.7}, kLeaf);
    const Tensor g = grad({sum(exp(x) * square(x))}, {x}, {}, {.create_graph = true})[0];
    sum(square(g)).backward();
    CHECK(x.grad().defined());
  }
  CHECK(allocator().stats().in_use == before);
}

TEST_CASE("a rule that throws leaves the engine usable", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const Tensor broken = record("broken", {x}, x.detach() * 1.0, [](const Tensor&) -> Tensors {
    fail("broken", "expected luck, got none");
  });
  CHECK_THAT(error_of([&] { sum(exp(broken)).backward(); }), ContainsSubstring("[broken]"));
  CHECK(current_node() == nullptr);
  CHECK(grad_enabled());
  sum(exp(x) * 0.0 + x).backward();
  CHECK(values(x.grad()) == std::vector<double>{1, 1});
}

TEST_CASE("what no gradient reaches is passed over", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  // Stands for zero: nothing arrives at exp, nor at x through it.
  const Tensor h = exp(x);
  const Tensor cut = record("cut", {x, h}, x.detach() * 2.0, [](const Tensor& g) -> Tensors {
    return {g * 2.0, Tensor()};
  });
  int calls = 0;
  x.register_post_accumulate_grad_hook([&](const Tensor&) { ++calls; });
  sum(cut).backward();
  CHECK(values(x.grad()) == std::vector<double>{2, 2});
  CHECK(calls == 1);
}

TEST_CASE("grad() computes what lies between, and nothing else", "[unit]") {
  const Tensor x = tensor({2.0}, kLeaf), w = tensor({3.0}, kLeaf), unused = tensor({1.0}, kLeaf);
  const Tensor h = x * w, y = square(h) + w;
  const Tensors result = grad({y}, {h, w}, {}, {.retain_graph = true});
  CHECK(result[0].item() == 12);
  CHECK(result[1].item() == 25);
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(w.grad().defined());
  CHECK_THAT(error_of([&] { grad({y}, {unused}, {}, {.retain_graph = true}); }),
             ContainsSubstring("allow_unused"));
  CHECK_FALSE(grad({y}, {unused}, {}, {.retain_graph = true}, true)[0].defined());
  CHECK(grad({y}, {y})[0].item() == 1);
  CHECK_THAT(error_of([&] { grad({y}, {x.detach()}); }), ContainsSubstring("require grad"));
}

TEST_CASE("grad() does not run what leads elsewhere", "[unit]") {
  const Tensor x = tensor({2.0}, kLeaf), w = tensor({3.0}, kLeaf);
  const Tensor side = exp(w);
  bool ran = false;
  side.register_hook([&](const Tensor&) {
    ran = true;
    return Tensor();
  });
  grad({x * side}, {x});
  CHECK_FALSE(ran);
  // Nor a root that does not lead there.
  side.retain_grad();
  CHECK_FALSE(grad({side, x * 2.0}, {x}, {}, {}, true)[0].requires_grad());
  CHECK_FALSE(ran);
  CHECK_FALSE(side.grad().defined());
}

TEST_CASE("nothing is recorded under NoGrad, nor without a need", "[unit]") {
  const Tensor x = tensor({1.0}, kLeaf);
  {
    NoGrad guard;
    CHECK_FALSE(exp(x).requires_grad());
    {
      GradMode on(true);
      CHECK(exp(x).requires_grad());
    }
    CHECK_FALSE(grad_enabled());
  }
  CHECK(grad_enabled());
  CHECK_FALSE(exp(x.detach()).requires_grad());
  CHECK_FALSE(gt(x, 0.0).requires_grad());
}

TEST_CASE("backward frees saved tensors as it goes", "[unit]") {
  const Tensor x = full({1024}, 0.5, kLeaf);
  const std::size_t start = allocator().stats().in_use;
  Tensor y = x;
  for (int i = 0; i < 64; ++i) y = tanh(y);
  Tensor loss = sum(y);
  const std::size_t built = allocator().stats().in_use;
  CHECK(built - start >= 64 * 1024 * sizeof(double));
  allocator().reset_peak();
  loss.backward();
  // Each node frees its saved output before the next one runs: a few temporaries above at most.
  CHECK(allocator().stats().peak - built <= 8 * 1024 * sizeof(double));
  y = loss = {};
  CHECK(allocator().stats().in_use - start <= 2 * 1024 * sizeof(double));
}

TEST_CASE("a node that saves its own output does not own itself", "[unit]") {
  const std::size_t before = allocator().stats().in_use;
  { const Tensor y = exp(tanh(tensor({1.0, 2.0}, kLeaf))); }
  CHECK(allocator().stats().in_use == before);
}

TEST_CASE("leaves that die before their graph", "[unit]") {
  Tensor y;
  {
    const Tensor x = tensor({1.0}, kLeaf);
    y = x + 1.0;
  }
  y.retain_grad();
  y.backward();  // the sink has nobody to give the gradient to
  CHECK(values(y.grad()) == std::vector<double>{1});
}

TEST_CASE("anomaly mode names the operation that made the first NaN", "[unit]") {
  const Tensor x = tensor({-1.0, 4.0}, kLeaf);
  AnomalyMode guard;
  const Tensor y = sum(sqrt(x) * 2.0);
  const std::string message = error_of([&] { y.backward(); });
  CHECK_THAT(message, ContainsSubstring("sqrt") && ContainsSubstring("[2]") &&
                          ContainsSubstring("The forward call was made at:"));
}

TEST_CASE("anomaly mode looks at every floating dtype", "[unit]") {
  const Tensor x = tensor({1.0, 4.0}, kLeaf);
  AnomalyMode guard;
  sum(to(to(x, DType::bf16), DType::f64)).backward();
  CHECK(values(x.grad()) == std::vector<double>{1, 1});
}

TEST_CASE("a gradient rule that breaks its contract is named", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const Tensor wrong_shape = record("wrong_shape", {x}, x.detach() * 1.0,
                                    [](const Tensor&) -> Tensors { return {ones({3}, kDouble)}; });
  CHECK_THROWS_WITH(sum(wrong_shape).backward(),
                    ContainsSubstring("[wrong_shape] expected a gradient f64 [2] on cpu"));
  const Tensor too_many = record("too_many", {x}, x.detach() * 1.0, [](const Tensor& g) -> Tensors {
    return {g, g};
  });
  CHECK_THROWS_WITH(sum(too_many).backward(),
                    ContainsSubstring("[too_many] expected 1 gradients of its gradient rule"));
  CHECK_THROWS_WITH(record("tracked", {x}, x * 1.0, [](const Tensor& g) -> Tensors { return {g}; }),
                    ContainsSubstring("[tracked] expected an output without a history"));
}

TEST_CASE("several outputs, some unused, some without gradient", "[unit]") {
  const Tensor x = tensor({1.0, 2.0}, kLeaf);
  const auto two = [&] {
    return record_all("two", {x},
                      {x.detach() * 2.0, x.detach() * 3.0, zeros({2}, {.dtype = DType::i64})},
                      [](const Tensors& gs, Needs) -> Tensors {
                        CHECK_FALSE(gs[2].defined());
                        Tensor total = zeros({2}, kDouble);
                        if (gs[0].defined()) total = total + gs[0] * 2.0;
                        if (gs[1].defined()) total = total + gs[1] * 3.0;
                        return {total};
                      });
  };
  Tensors outputs = two();
  CHECK_FALSE(outputs[2].requires_grad());
  sum(outputs[1]).backward();
  CHECK(values(x.grad()) == std::vector<double>{3, 3});
  x.set_grad({});
  outputs = two();
  sum(outputs[0] + outputs[1]).backward();
  CHECK(values(x.grad()) == std::vector<double>{5, 5});
}

TEST_CASE("requires_grad_", "[unit]") {
  const Tensor x = tensor({1.0});
  CHECK(x.requires_grad_().requires_grad());
  CHECK_FALSE(x.requires_grad_(false).requires_grad());
  CHECK_THAT(error_of([] { ones({2}, {.dtype = DType::i64}).requires_grad_(); }),
             ContainsSubstring("floating"));
  x.requires_grad_();
  CHECK_THAT(error_of([&] { (x * 2.0).requires_grad_(false); }), ContainsSubstring("leaf"));
  CHECK_THAT(error_of([&] { x.set_grad(ones({2})); }), ContainsSubstring("[1]"));
}

TEST_CASE("A leaf that is frozen for a while keeps its gradient and its hooks", "[unit]") {
  const Tensor x = tensor({2.0}, kLeaf);
  int hooks = 0;
  x.register_post_accumulate_grad_hook([&](const Tensor&) { ++hooks; });
  square(x).backward();
  const Tensor before = square(x);  // recorded while it requires grad
  x.requires_grad_(false);
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(square(x).requires_grad());
  before.backward({}, /*retain_graph=*/true);  // arrives nowhere
  x.requires_grad_();
  CHECK(x.grad().item() == 4);
  CHECK(hooks == 1);
  before.backward();
  CHECK(x.grad().item() == 8);
  CHECK(hooks == 2);
  x.requires_grad_(false);
  x.set_grad({});  // as zero_grad() does
  CHECK_THROWS_AS(x.set_grad(ones_like(x)), Error);
  const Tensor y = ones({2}).requires_grad_();
  CHECK_THROWS_WITH(y.set_grad(y), ContainsSubstring("[set_grad] expected a dense gradient"));
  CHECK_THROWS_AS(y.set_grad(expand(ones({1}), {2})), Error);
  x.requires_grad_();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("Every root needs its gradient, or none", "[unit]") {
  const Tensor x = tensor({2.0}, kLeaf);
  const Tensor a = x * 2.0, b = x * 3.0;
  CHECK_THAT(error_of([&] {
               grad({a, b}, {x}, {ones_like(a)});
             }),
             ContainsSubstring("[backward] expected a gradient for each of 2 roots") &&
                 ContainsSubstring("got 1"));
  CHECK(grad({a, b}, {x}, {Tensor(), ones_like(b)})[0].item() == 5);
}

TEST_CASE("Threads may run backward into one leaf, each over a graph of its own", "[unit]") {
  const Tensor leaf = ones({100000}).requires_grad_();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) sum(leaf * 2.0).backward();
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(amin(leaf.grad()).item() == 400);
  CHECK(amax(leaf.grad()).item() == 400);
}

TEST_CASE("A leaf may be let go while another thread runs backward to it", "[unit]") {
  for (int i = 0; i < 200; ++i) {
    Tensor x = zeros({1000}, kLeaf);
    sum(x).backward();  // a second gradient is added to it in the leaf's own memory
    const Tensor y = sum(x * 2.0);
    std::thread other([y] { y.backward(); });
    for (int spin = 0; spin < i; ++spin) std::this_thread::yield();
    x = Tensor();
    other.join();
  }
}

TEST_CASE("Threads may build graphs over shared leaves", "[unit]") {
  Generator generator(11);
  const Tensor x = randn({8, 6}, {.dtype = DType::f64}, generator).requires_grad_();
  const Tensor weight = ones({6}, {.dtype = DType::f64}).requires_grad_();
  const Tensor bias = zeros({6}, {.dtype = DType::f64}).requires_grad_();
  const auto gradients_of = [&](int thread) {
    const Tensor y = batch_norm_relu(x, {}, {}, weight, bias, {.training = true});
    return grad({sum(square(y * static_cast<double>(thread + 1) + exp(x)))}, {x, weight});
  };
  std::vector<Tensors> together(4), alone(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        together[static_cast<std::size_t>(t)] = gradients_of(t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) {
    const auto at = static_cast<std::size_t>(t);
    alone[at] = gradients_of(t);
    for (std::size_t i : {0, 1}) CHECK(values(together[at][i]) == values(alone[at][i]));
  }
}
