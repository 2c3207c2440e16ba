// Optimisers against their formulas written out, schedules, clipping, accumulation, state.
#include <omp.h>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/optimizer.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

#include "nn_testing.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

using Values = std::vector<double>;

/// The gradient of step t, the same for every run.
Values gradient_of(int t, std::size_t n) {
  Values g(n);
  for (std::size_t i = 0; i < n; ++i) {
    g[i] = std::sin(static_cast<double>(3 * i + 1) * 0.7 + t) * 0.5;
  }
  return g;
}

Tensor parameter_of(const Values& values, const Dims& shape, DType dtype = DType::f64) {
  return tensor(values, shape, {.dtype = dtype, .requires_grad = true});
}

void set_gradient(const Tensor& p, const Values& g) {
  p.set_grad(tensor(g, p.shape(), {.dtype = p.dtype()}));
}

double norm_of(const Values& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

/// Runs five steps of an optimiser over one [2, 3] and one [3] parameter beside `reference`, which
/// changes (p, state) by (g, t from 1) in plain C++.
void compare(const std::function<std::unique_ptr<nn::Optimizer>(const Tensors&)>& make,
             const std::function<void(Values& p, const Values& g, std::vector<Values>& state, int t,
                                      bool is_1d)>& reference,
             DType dtype = DType::f64, double tolerance = 1e-14) {
  std::vector<Values> want = {{0.5, -1.0, 2.0, 0.25, 0.0, -0.75}, {1.0, -0.5, 0.125}};
  const Tensors parameters = {parameter_of(want[0], {2, 3}, dtype),
                              parameter_of(want[1], {3}, dtype)};
  const auto optimizer = make(parameters);
  std::vector<std::vector<Values>> states(2);
  for (int t = 1; t <= 5; ++t) {
    for (std::size_t k = 0; k < 2; ++k) {
      const Values g = gradient_of(t + static_cast<int>(10 * k), want[k].size());
      set_gradient(parameters[k], g);
      if (states[k].empty()) states[k].assign(2, Values(want[k].size(), 0.0));
      reference(want[k], g, states[k], t, k == 1);
    }
    optimizer->step();
    for (std::size_t k = 0; k < 2; ++k) {
      const Values got = values_of(parameters[k]);
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(t, k, i);
        REQUIRE_THAT(got[i], WithinAbs(want[k][i], tolerance));
      }
    }
  }
}

}  // namespace

TEST_CASE("One step of SGD with momentum, by hand", "[smoke]") {
  const Tensor p = parameter_of({1.0, 2.0}, {2});
  nn::SGD sgd({p}, {.lr = 0.1, .momentum = 0.5, .weight_decay = 0.1});
  set_gradient(p, {1.0, -1.0});
  sgd.step();  // d = (1.1, -0.8), m = d
  CHECK_THAT(values_of(p)[0], WithinAbs(0.89, 1e-15));
  CHECK_THAT(values_of(p)[1], WithinAbs(2.08, 1e-15));
  set_gradient(p, {0.0, 0.0});
  sgd.step();  // d = (0.089, 0.208), m = (0.639, -0.192)
  CHECK_THAT(values_of(p)[0], WithinAbs(0.8261, 1e-15));
  CHECK_THAT(values_of(p)[1], WithinAbs(2.0992, 1e-15));
}

TEST_CASE("SGD follows its formula") {
  struct Case {
    const char* name;
    nn::SGDOptions options;
  };
  const Case cases[] = {
      {"plain", {.lr = 0.1}},
      {"decay", {.lr = 0.1, .weight_decay = 0.2}},
      {"momentum", {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.2}},
      {"dampening", {.lr = 0.1, .momentum = 0.9, .dampening = 0.3}},
      {"nesterov", {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.2, .nesterov = true}},
  };
  for (const Case& c : cases) {
    const nn::SGDOptions o = c.options;
    const auto reference = [&](Values& p, const Values& g, std::vector<Values>& state, int t,
                               bool) {
      for (std::size_t i = 0; i < p.size(); ++i) {
        double d = g[i] + o.weight_decay * p[i];
        if (o.momentum != 0) {
          double& m = state[0][i];
          m = t == 1 ? d : o.momentum * m + (1 - o.dampening) * d;
          d = o.nesterov ? d + o.momentum * m : m;
        }
        p[i] -= o.lr * d;
      }
    };
    const auto make = [&](const Tensors& p) { return std::make_unique<nn::SGD>(p, o); };
    DYNAMIC_SECTION(c.name) {
      compare(make, reference);
      compare(make, reference, DType::f32, 1e-6);
    }
  }
}

TEST_CASE("LARS follows its formulas") {
  struct Case {
    const char* name;
    nn::LARSOptions options;
  };
  const Case cases[] = {
      {"official", {.lr = 0.3, .weight_decay = 0.01, .eta = 0.02}},
      {"official, 1-D included", {.lr = 0.3, .eta = 0.02, .exclude_1d = false}},
      {"clipped", {.lr = 0.3, .weight_decay = 0.01, .eta = 0.02, .variant = LarsVariant::clipped}},
      {"clipped to 1",
       {.lr = 1e-3, .weight_decay = 0.01, .eta = 0.02, .variant = LarsVariant::clipped}},
      {"clipped, rate 0",
       {.lr = 0, .weight_decay = 0.01, .eta = 0.02, .variant = LarsVariant::clipped}},
  };
  for (const Case& c : cases) {
    const nn::LARSOptions o = c.options;
    const auto reference = [&](Values& p, const Values& g, std::vector<Values>& state, int,
                               bool is_1d) {
      const bool adapts = !is_1d || !o.exclude_1d;
      Values d = g;
      if (adapts) {
        for (std::size_t i = 0; i < p.size(); ++i) d[i] += o.weight_decay * p[i];
        double q = o.eta * norm_of(p) / norm_of(d);
        if (o.variant == LarsVariant::clipped) {
          q = std::min(
              o.eta * norm_of(p) / (norm_of(g) + o.weight_decay * norm_of(p) + 1e-8) / o.lr, 1.0);
        }
        for (double& v : d) v *= q;
      }
      for (std::size_t i = 0; i < p.size(); ++i) {
        state[0][i] = o.momentum * state[0][i] + d[i];
        p[i] -= o.lr * state[0][i];
      }
    };
    const auto make = [&](const Tensors& p) { return std::make_unique<nn::LARS>(p, o); };
    DYNAMIC_SECTION(c.name) {
      compare(make, reference);
      compare(make, reference, DType::f32, 1e-6);
    }
  }
}

TEST_CASE("LARS with a zero norm") {
  for (const auto variant : {LarsVariant::official, LarsVariant::clipped}) {
    const nn::LARSOptions o{
        .lr = 0.1, .momentum = 0, .weight_decay = 0.5, .eta = 0.02, .variant = variant};
    // |p| = 0: the step is -lr g.
    const Tensor zero = parameter_of({0, 0}, {1, 2});
    set_gradient(zero, {1, 2});
    nn::LARS({zero}, o).step();
    CHECK_THAT(values_of(zero)[1], WithinAbs(-0.2, 1e-15));
    // |g| = 0: official scales the decay, clipped leaves p alone.
    const Tensor still = parameter_of({3, 4}, {1, 2});
    set_gradient(still, {0, 0});
    nn::LARS({still}, o).step();
    const double q = 0.02 * 5 / (0.5 * 5);
    CHECK_THAT(values_of(still)[0],
               WithinAbs(variant == LarsVariant::official ? 3 - 0.1 * q * 0.5 * 3 : 3, 1e-15));
  }
}

TEST_CASE("Adam and AdamW follow their formulas") {
  for (const bool decoupled : {false, true}) {
    const double lr = 0.01, b1 = 0.8, b2 = 0.95, eps = 1e-6, wd = 0.1;
    const auto reference = [&](Values& p, const Values& gradient, std::vector<Values>& state, int t,
                               bool) {
      for (std::size_t i = 0; i < p.size(); ++i) {
        double g = gradient[i];
        if (decoupled) {
          p[i] *= 1 - lr * wd;
        } else {
          g += wd * p[i];
        }
        double &m = state[0][i], &v = state[1][i];
        m = b1 * m + (1 - b1) * g;
        v = b2 * v + (1 - b2) * g * g;
        p[i] -= lr * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
      }
    };
    const auto make = [&](const Tensors& p) -> std::unique_ptr<nn::Optimizer> {
      if (decoupled) {
        return std::make_unique<nn::AdamW>(
            p, nn::AdamWOptions{.lr = lr, .betas = {b1, b2}, .eps = eps, .weight_decay = wd});
      }
      return std::make_unique<nn::Adam>(
          p, nn::AdamOptions{.lr = lr, .betas = {b1, b2}, .eps = eps, .weight_decay = wd});
    };
    compare(make, reference);
    compare(make, reference, DType::f32, 1e-6);
  }
}

TEST_CASE("Parameters without a gradient are skipped and keep their own step count") {
  const Tensor a = parameter_of({1, 2}, {2}), b = parameter_of({1, 2}, {2});
  nn::AdamW adam({a, b}, {.lr = 0.1});
  set_gradient(a, {1, 1});
  adam.step();
  CHECK(values_of(b) == Values{1, 2});
  set_gradient(b, {1, 1});
  a.set_grad({});
  const Values before = values_of(a);
  adam.step();
  CHECK(values_of(a) == before);
  CHECK(values_of(b) == before);  // its first step now
  CHECK(adam.state_dict().numbers.at("steps/1") == 1);
}

TEST_CASE("A step writes to the model's tensors, moves their version and records nothing") {
  const Tensor p = parameter_of({1, 2}, {2});
  nn::SGD sgd({p}, {.lr = 0.5});
  sum(p * p).backward();
  const auto version = p.version();
  sgd.step();
  CHECK(p.version() > version);
  CHECK(p.is_leaf());
  CHECK(values_of(p) == Values{0, 0});
  sgd.zero_grad();
  CHECK_FALSE(p.grad().defined());
}

TEST_CASE("Groups have options of their own, and the rate scales") {
  const Tensor a = parameter_of({1}, {1}), b = parameter_of({1}, {1});
  nn::SGD sgd(std::vector<nn::SGD::Group>{
      {std::vector<nn::NamedTensor>{{"a", a}}, {.lr = 0.1}},
      {std::vector<nn::NamedTensor>{{"b", b}}, {.lr = 0.1, .weight_decay = 1}, 10},
  });
  set_gradient(a, {1});
  set_gradient(b, {1});
  for (const double lr : {-1.0, std::nan("")}) {
    CHECK_THROWS_WITH(sgd.set_lr(lr), ContainsSubstring("[SGD] expected a learning rate"));
  }
  sgd.set_lr(0.01);
  CHECK(sgd.lr() == 0.01);
  sgd.step();
  CHECK_THAT(values_of(a)[0], WithinAbs(0.99, 1e-15));
  CHECK_THAT(values_of(b)[0], WithinAbs(0.8, 1e-15));
  sgd.options(1).weight_decay = 0;
  sgd.step();
  CHECK_THAT(values_of(b)[0], WithinAbs(0.7, 1e-15));

  nn::SGD unnamed(std::vector<nn::SGD::Group>{{Tensors{a}, {}}, {Tensors{b}, {}}});
  unnamed.step();
  CHECK(unnamed.state_dict().numbers.contains("steps/0"));
  CHECK(unnamed.state_dict().numbers.contains("steps/1"));
}

TEST_CASE("A step that found no memory can be taken again") {
  const Tensor small = parameter_of({1, 1}, {2});
  const Tensor large = ones({1 << 20}, {.dtype = DType::f64, .requires_grad = true});
  const auto fails_and_steps = [&](nn::Optimizer& optimizer) {
    for (const Tensor& p : {small, large}) {
      NoGrad guard;
      fill_(p, 1);
      p.set_grad(ones_like(p));
    }
    CachingAllocator& memory = allocator();
    memory.empty_cache();
    memory.set_limit(memory.stats().in_use + (std::size_t{1} << 20));
    CHECK_THAT(message_of([&] { optimizer.step(); }), ContainsSubstring("out of memory"));
    memory.set_limit(0);
    CHECK(values_of(small) == Values{1, 1});
    CHECK(optimizer.state_dict().tensors.empty());
    optimizer.step();
    CHECK(values_of(small)[0] == narrow(large, 0, 0, 1).item());
  };
  nn::Adam adam({small, large}, {.lr = 1});
  fails_and_steps(adam);
  CHECK(adam.state_dict().numbers.at("steps/0") == 1);
  CHECK_THAT(values_of(small)[0], WithinAbs(0, 1e-7));
  nn::SGD sgd({small, large}, {.lr = 1, .momentum = 0.9, .dampening = 0.9});
  fails_and_steps(sgd);
  CHECK(values_of(small)[0] == 0);  // the first step is not damped
}

TEST_CASE("Impossible options and parameters are refused") {
  const Tensor p = parameter_of({1}, {1});
  CHECK_THROWS_AS(nn::SGD({p}, {.lr = -1}), Error);
  CHECK_THROWS_AS(nn::SGD({p}, {.nesterov = true}), Error);
  CHECK_THROWS_AS(nn::AdamW({p}, {.betas = {0.9, 1}}), Error);
  CHECK_THROWS_AS(nn::LARS({p}, {.variant = LarsVariant::none}), Error);
  CHECK_THROWS_AS(nn::SGD(Tensors{}, {}), Error);
  CHECK_THROWS_AS(nn::SGD({p * 2}, {}), Error);
  Tensor turned = transpose(ones({2, 3}));
  turned.requires_grad_();
  CHECK_THAT(message_of([&] { nn::SGD({turned}, {}); }), ContainsSubstring("dense"));
  CHECK_THAT(message_of([&] {
               const std::vector<nn::NamedTensor> named{{"a", p}};
               nn::SGD(std::vector<nn::SGD::Group>{{named, {}}, {named, {}}});
             }),
             ContainsSubstring("'a' twice"));
  CHECK_THAT(message_of([&] {
               nn::SGD(std::vector<nn::SGD::Group>{{Tensors{p}, {}, -1}});
             }),
             ContainsSubstring("expected lr_scale >= 0, got -1"));
  CHECK_THAT(message_of([&] {
               nn::SGD({p, p}, {});
             }),
             ContainsSubstring("got '0' and '1', which are one tensor"));
}

TEST_CASE("The state of an optimiser goes on bit by bit") {
  const auto round_trip = [](const auto& make) {
    const Values start = {0.5, -1, 2, 0.25, 0.1, -0.75};
    const Tensor straight = parameter_of(start, {2, 3}, DType::f32);
    const Tensor resumed = parameter_of(start, {2, 3}, DType::f32);
    const auto a = make(straight);
    const auto b = make(resumed);
    const auto train = [&](nn::Optimizer& optimizer, const Tensor& p, int from, int to) {
      for (int t = from; t < to; ++t) {
        set_gradient(p, gradient_of(t, 6));
        optimizer.set_lr(0.1 / (t + 1));
        optimizer.step();
      }
    };
    train(*a, straight, 0, 6);
    train(*b, resumed, 0, 3);
    const Tensor stopped = parameter_of(values_of(resumed), {2, 3}, DType::f32);
    const auto c = make(stopped);
    nn::OptimizerState state = b->state_dict();
    for (auto& [name, tensor] : state.tensors) tensor = clone(tensor);
    c->load_state_dict(state);
    CHECK(c->lr() == b->lr());
    train(*c, stopped, 3, 6);
    CHECK(values_of(stopped) == values_of(straight));
  };
  round_trip([](const Tensor& p) {
    return std::make_unique<nn::SGD>(Tensors{p}, nn::SGDOptions{.momentum = 0.9, .dampening = 0.5});
  });
  round_trip(
      [](const Tensor& p) { return std::make_unique<nn::LARS>(Tensors{p}, nn::LARSOptions{}); });
  round_trip(
      [](const Tensor& p) { return std::make_unique<nn::Adam>(Tensors{p}, nn::AdamOptions{}); });
  round_trip(
      [](const Tensor& p) { return std::make_unique<nn::AdamW>(Tensors{p}, nn::AdamWOptions{}); });
}

TEST_CASE("Momentum may be switched on and off") {
  const Tensor p = parameter_of({1}, {1});
  nn::SGD sgd(Tensors{p}, {.lr = 1, .momentum = 0});
  const auto step = [&] {
    set_gradient(p, {1});
    sgd.step();
    return values_of(p)[0];
  };
  CHECK(step() == 0);
  sgd.options().momentum = 0.5;
  sgd.load_state_dict(sgd.state_dict());  // of before it was asked for
  CHECK(step() == -1);                    // the buffer is made now: 1
  CHECK(step() == -2.5);                  // 0.5 + 1
  CHECK(sgd.state_dict().tensors.size() == 1);
  sgd.options().momentum = 0;
  CHECK(step() == -3.5);
  CHECK(sgd.state_dict().tensors.empty());
  sgd.options().dampening = 0.5;  // is momentum's alone
  CHECK(step() == -4.5);
  sgd.options().momentum = 0.5;
  CHECK(step() == -5.5);  // the buffer is made anew, as at the first step
}

TEST_CASE("Buffers follow the layout that their parameter declares") {
  const nn::Parameter weight(rand({4, 3, 3, 2}), nn::FileLayout::oihw);
  nn::SGD sgd(std::vector<nn::NamedTensor>{{"conv.weight", weight, weight.layout()}},
              {.momentum = 0.9});
  weight.set_grad(rand({4, 3, 3, 2}));
  sgd.step();
  const auto state = sgd.state_dict();
  CHECK(state.tensors.at("momentum_buffer/conv.weight").shape() == Dims{4, 2, 3, 3});
}

TEST_CASE("The state of another optimiser is refused and changes nothing") {
  const Tensor p = parameter_of({1, 2}, {2});
  nn::SGD sgd({p}, {.lr = 0.1, .momentum = 0.9});
  set_gradient(p, {1, 1});
  sgd.step();
  const auto good = sgd.state_dict();

  CHECK_THAT(message_of([&] { nn::AdamW({p}, {}).load_state_dict(good); }),
             ContainsSubstring("expected the state of AdamW, got that of SGD"));
  auto bad = good;
  bad.tensors.clear();
  CHECK_THAT(message_of([&] { sgd.load_state_dict(bad); }),
             ContainsSubstring("missing: momentum_buffer/0"));
  bad = good;
  bad.tensors["momentum_buffer/0"] = zeros({3}, {.dtype = DType::f64});
  CHECK_THAT(message_of([&] { sgd.load_state_dict(bad); }),
             ContainsSubstring("f64 [3] instead of f64 [2]"));
  bad = good;
  bad.numbers["steps/0"] = 0.5;
  CHECK_THROWS_AS(sgd.load_state_dict(bad), Error);
  bad = good;
  bad.numbers["steps/other"] = 1;
  CHECK_THROWS_AS(sgd.load_state_dict(bad), Error);
  bad = good;
  bad.numbers.erase("lr/0");
  CHECK_THROWS_AS(sgd.load_state_dict(bad), Error);
  for (const double lr : {-1.0, std::nan("")}) {
    bad.numbers["lr/0"] = lr;
    CHECK_THAT(message_of([&] { sgd.load_state_dict(bad); }),
               ContainsSubstring("a learning rate of at least 0 as 'lr/0'"));
  }
  CHECK(sgd.state_dict().numbers == good.numbers);
}

TEST_CASE("Warm-up and cosine") {
  // facebookresearch/vicreg: 0 at step 0, base after the warm-up, base / 1000 at the end.
  const nn::WarmupCosine official(
      {.base_lr = 0.4, .total_steps = 100, .warmup_steps = 10, .end_lr = 0.0004});
  CHECK(official.lr(0) == 0);
  CHECK_THAT(official.lr(5), WithinRel(0.2, 1e-15));
  CHECK(official.lr(10) == 0.4);
  CHECK_THAT(official.lr(55), WithinRel((0.4 + 0.0004) / 2, 1e-14));
  CHECK_THAT(official.lr(99),
             WithinRel(0.0004 + 0.3996 * 0.5 * (1 + std::cos(std::acos(-1.0) * 89 / 90)), 1e-13));
  CHECK(official.lr(100) == 0.0004);
  CHECK(official.lr(1000) == 0.0004);

  // solo-learn: the last step of the warm-up has the full rate.
  const nn::WarmupCosine solo({.base_lr = 0.3,
                               .total_steps = 50,
                               .warmup_steps = 11,
                               .start_lr = 3e-5,
                               .warmup_reaches_base = true});
  CHECK(solo.lr(0) == 3e-5);
  CHECK_THAT(solo.lr(5), WithinRel((3e-5 + 0.3) / 2, 1e-14));
  CHECK_THAT(solo.lr(10), WithinRel(0.3, 1e-15));
  CHECK(solo.lr(11) == 0.3);
  CHECK(solo.lr(50) == 0);

  const nn::WarmupCosine cosine({.base_lr = 1, .total_steps = 4});
  CHECK(cosine.lr(0) == 1);
  CHECK_THAT(cosine.lr(2), WithinRel(0.5, 1e-14));
  CHECK(nn::WarmupCosine(
            {.base_lr = 1, .total_steps = 4, .warmup_steps = 1, .warmup_reaches_base = true})
            .lr(0) == 0);
  CHECK(nn::ConstantSchedule(0.1).lr(7) == 0.1);

  CHECK_THAT(
      message_of([] { nn::WarmupCosine({.base_lr = 1, .total_steps = 10, .warmup_steps = 10}); }),
      ContainsSubstring("shorten the warm-up"));
  CHECK_THROWS_AS(nn::WarmupCosine({.base_lr = 1}), Error);
}

TEST_CASE("Clipping scales all gradients by one factor") {
  const Tensor a = parameter_of({0, 0}, {2}), b = parameter_of({0}, {1}),
               c = parameter_of({0}, {1});
  set_gradient(a, {2, 3});
  set_gradient(b, {6});
  CHECK_THAT(nn::clip_grad_norm_({a, b, c}, 3.5).item(), WithinRel(7.0, 1e-15));
  CHECK_THAT(values_of(a.grad())[1], WithinRel(1.5, 1e-6));
  CHECK_THAT(values_of(b.grad())[0], WithinRel(6 * 3.5 / (7 + 1e-6), 1e-15));
  CHECK_FALSE(c.grad().defined());
  const Values before = values_of(a.grad());
  CHECK_THAT(nn::clip_grad_norm_({a, b}, 100).item(), WithinRel(3.5, 1e-6));
  CHECK(values_of(a.grad()) == before);
  CHECK(nn::clip_grad_norm_({c}, 1).item() == 0);
  // Single precision whose squares overflow.
  const Tensor large = parameter_of({0}, {1}, DType::f32);
  set_gradient(large, {1e30});
  CHECK_THAT(nn::clip_grad_norm_({large}, 1).item(), WithinRel(1e30, 1e-6));
  CHECK_THAT(values_of(large.grad())[0], WithinRel(1.0, 1e-6));
}

TEST_CASE("Updates and norms have the same bits for any number of threads") {
  const auto run = [](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    Generator generator(1);
    Tensor p = randn({100003}, {}, generator);
    p.requires_grad_();
    const Tensor q = reshape_copy(p, {100003, 1});
    nn::AdamW adam({p}, {.lr = 0.1});
    nn::LARS lars({q}, {.lr = 10, .weight_decay = 0.1});
    for (int t = 0; t < 2; ++t) {
      p.set_grad(randn({100003}, {}, generator));
      q.set_grad(randn({100003, 1}, {}, generator));
      nn::clip_grad_norm_({p, q}, 1);
      adam.step();
      lars.step();
    }
    omp_set_num_threads(before);
    Values all = values_of(p);
    for (double v : values_of(q)) all.push_back(v);
    return all;
  };
  CHECK(run(1) == run(3));
}

TEST_CASE("The fused steps check what they are given") {
  const Tensor p = zeros({2, 2}), g = ones({2, 2}), m = zeros({2, 2}), none;
  const auto sgd = [](const Tensor& parameter, const Tensor& gradient, const Tensor& momentum,
                      const SgdStep& step) {
    sgd_step_({parameter}, {gradient}, {momentum}, {step});
  };
  CHECK_THROWS_AS(sgd(p, ones({4}), m, {}), Error);
  CHECK_THROWS_AS(sgd(p, g, none, {.momentum = 0.9}), Error);
  CHECK_THROWS_AS(sgd(p, g, zeros({2, 2}, {.dtype = DType::f64}), {}), Error);
  CHECK_THROWS_AS(sgd(p, g, m, {.lars = LarsVariant::official}), Error);
  CHECK_THROWS_AS(adam_step_({p}, {g}, {m}, {zeros({2, 2})}, {AdamStep{.count = 0}}), Error);
  CHECK_THROWS_AS(
      sgd(zeros({2}, {.dtype = DType::i64}), zeros({2}, {.dtype = DType::i64}), none, {}), Error);
  CHECK_THROWS_AS(sgd(transpose(zeros({2, 3})), ones({3, 2}), none, {}), Error);
  // Large enough for several threads, in which nothing may throw.
  const Tensor half = zeros({100000}, {.dtype = DType::bf16});
  CHECK_THROWS_AS(sgd(half, half, none, {}), Error);
  CHECK_THROWS_AS(adam_step_({half}, {half}, {half}, {half}, {AdamStep{.count = 1}}), Error);
  CHECK_THROWS_AS(lerp_({half}, {half}, 0.5), Error);
  CHECK_THROWS_AS(squared_norm({half, half}), Error);
  CHECK_THROWS_AS(lars_norms({half}, {half}, {SgdStep{}}), Error);
  CHECK_THROWS_AS(sgd_step_({p, p}, {g}, {m}, {SgdStep{}}), Error);
  const TensorOptions f64{.dtype = DType::f64};
  for (const Tensor& norms :
       {ones({2, 1}), ones({1, 2}, f64), ones({2}, f64), expand(ones({1, 1}, f64), {2, 1})}) {
    CHECK_THROWS_AS(sgd_step_({p}, {g}, {m}, {SgdStep{.lars = LarsVariant::official}}, norms),
                    Error);
  }
  Tensor leaf = zeros({2, 2});
  leaf.requires_grad_();
  CHECK_THROWS_AS(sgd(leaf, g, m, {}), Error);  // outside NoGrad
  // Any gradient will do, dense or not; empty parameters too.
  sgd(p, expand(ones({1, 2}), {2, 2}), none, {.lr = 1});
  CHECK(values_of(p) == Values{-1, -1, -1, -1});
  sgd(zeros({0, 2}), zeros({0, 2}), zeros({0, 2}), {.lr = 1, .momentum = 0.9});
  sgd_step_({}, {}, {}, {});
  CHECK(squared_norm({zeros({0})}).item() == 0);
  CHECK(squared_norm({}).item() == 0);
  const Tensor x = zeros({2});
  lerp_({x}, {ones({2})}, 0.25);
  CHECK_THAT(values_of(x)[0], WithinAbs(0.25, 1e-7));
}

TEST_CASE("One step of many tensors is a step of each") {
  // Sizes around the pieces that the work is cut into, an empty one, two dtypes.
  const std::vector<Dims> shapes = {{3}, {0}, {16384}, {1}, {40, 500}, {16383}, {2, 0}, {5}};
  const auto run = [&](bool together) {
    Generator generator(4);
    Tensors p, g, m, v;
    std::vector<SgdStep> sgd;
    std::vector<AdamStep> adam;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const TensorOptions options{.dtype = i % 3 == 2 ? DType::f64 : DType::f32};
      for (Tensors* list : {&p, &g, &m, &v}) list->push_back(randn(shapes[i], options, generator));
      v[i] = square(v[i]);
      const bool lars = i % 2 == 0;
      sgd.push_back({.lr = 0.1 + 0.01 * static_cast<double>(i),
                     .momentum = 0.9,
                     .weight_decay = 0.1,
                     .lars = lars ? LarsVariant::official : LarsVariant::none,
                     .eta = 0.02});
      adam.push_back({.lr = 0.1, .weight_decay = 0.1, .count = static_cast<std::int64_t>(i) + 1});
    }
    if (together) {
      sgd_step_(p, g, m, sgd, lars_norms(p, g, sgd));
      adam_step_(p, g, m, v, adam);
      lerp_(m, v, 0.3);
    } else {
      for (std::size_t i = 0; i < p.size(); ++i) {
        sgd_step_({p[i]}, {g[i]}, {m[i]}, {sgd[i]}, lars_norms({p[i]}, {g[i]}, {sgd[i]}));
        adam_step_({p[i]}, {g[i]}, {m[i]}, {v[i]}, {adam[i]});
        lerp_({m[i]}, {v[i]}, 0.3);
      }
    }
    Values all{squared_norm(p).item()};
    for (const Tensors* list : {&p, &m, &v}) {
      for (const Tensor& x : *list) {
        const Values values = values_of(x);
        all.insert(all.end(), values.begin(), values.end());
      }
    }
    return all;
  };
  CHECK(run(true) == run(false));
}
