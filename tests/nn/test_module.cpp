// Modules: names and order, copies, modes, conversion, state dicts and what is said about bad ones,
// initialisation, averages.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/init.hpp>
#include <invar/nn/module.hpp>
#include <invar/nn/safetensors.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>

#include "nn_testing.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

/// y = a x + b, and counts its calls.
class Affine : public nn::Module {
 public:
  explicit Affine(double slope = 2, bool with_offset = true) : slope(full({2}, slope)) {
    if (with_offset) offset = nn::Parameter(zeros({2}));
    calls = nn::Buffer(zeros({}, {.dtype = DType::i64}));
  }
  Tensor forward(const Tensor& x) override {
    if (is_training()) add_(calls, 1);
    const Tensor y = x * slope;
    return offset.defined() ? y + offset : y;
  }

  nn::Parameter slope, offset;
  nn::Buffer calls;

 private:
  void members(nn::Members& m) override {
    m("slope", slope);
    m("offset", offset);
    m("calls", calls);
  }
};

/// A module of modules with everything that there is.
class Net : public nn::Module {
 public:
  Net()
      : weight(rand({4, 3, 3, 2}), nn::FileLayout::oihw),
        first(3),
        body(Affine(1), Affine(5, false)) {}
  Tensor forward(const Tensor& x) override { return body(first(x)); }

  nn::Parameter weight;
  Affine first;
  std::optional<Affine> absent;
  nn::Sequential body;

 private:
  void members(nn::Members& m) override {
    m("first", first);
    m("absent", absent);
    m("body", body);
    m("weight", weight);  // after the children here, yet before them in PyTorch's order
  }
};

std::vector<std::string> names_of(const std::vector<nn::NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& t : tensors) names.push_back(t.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("Names are paths, a module's own before its children's", "[smoke]") {
  Net net;
  CHECK(names_of(net.named_parameters()) == Names{"weight", "first.slope", "first.offset",
                                                  "body.0.slope", "body.0.offset", "body.1.slope"});
  CHECK(names_of(net.named_buffers()) == Names{"first.calls", "body.0.calls", "body.1.calls"});
  Names modules;
  for (const auto& [name, module] : net.named_modules()) modules.push_back(name);
  CHECK(modules == Names{"", "first", "body", "body.0", "body.1"});
  CHECK(nn::count_parameters(net) == 72 + 10);
  net.first.requires_grad_(false);
  CHECK(nn::count_parameters(net) == 72 + 6);
}

TEST_CASE("A forward pass reaches every parameter") {
  Net net;
  const Tensor y = net(ones({1, 2}));
  CHECK(values_of(y) == std::vector<double>{15, 15});
  sum(y).backward();
  CHECK(values_of(net.first.slope.grad()) == std::vector<double>{5, 5});
  CHECK(net.body.at<Affine>(0).slope.grad().defined());
  CHECK_FALSE(net.weight.grad().defined());
  net.zero_grad();
  CHECK_FALSE(net.first.slope.grad().defined());
  CHECK_THROWS_AS(net.body.at<Net>(0), Error);
  CHECK_THROWS_AS(net.body[2], Error);
  CHECK(values_of(nn::Sequential()(ones({2}))) == std::vector<double>{1, 1});

  class Silent : public nn::Module {};
  CHECK_THROWS_AS(Silent()(ones({2})), Error);
}

TEST_CASE("A copy is an independent network, a move is the same one") {
  Net net;
  net.first.requires_grad_(false);
  net.eval();
  Net copy = net;
  CHECK(names_of(copy.named_parameters()) == names_of(net.named_parameters()));
  CHECK_FALSE(copy.is_training());
  CHECK_FALSE(copy.body[1].is_training());
  CHECK_FALSE(copy.first.slope.requires_grad());
  CHECK(copy.weight.requires_grad());
  CHECK(copy.weight.layout() == nn::FileLayout::oihw);
  CHECK(values_of(copy.weight) == values_of(net.weight));
  for (const auto& [name, tensor] : copy.state_dict()) {
    CHECK(tensor.storage() != net.state_dict().at(name).storage());
  }
  nn::init::constant_(net.body.at<Affine>(1).slope, 7);
  CHECK(values_of(copy.body.at<Affine>(1).slope)[0] == 5);

  const Tensor handle = net.weight;
  Net moved = std::move(net);
  CHECK(moved.weight.is_same(handle));

  nn::AnyModule any = moved;
  const nn::AnyModule second = any;
  CHECK(any.module().state_dict().size() == 9);
  CHECK(second.module().state_dict().at("weight").storage() !=
        any.module().state_dict().at("weight").storage());
}

TEST_CASE("Train and eval reach every module") {
  Net net;
  CHECK(net.is_training());
  net.eval();
  for (const auto& [name, module] : net.named_modules()) CHECK_FALSE(module->is_training());
  net(ones({2}));
  CHECK(net.first.calls.item() == 0);
  net.train()(ones({2}));
  CHECK(net.first.calls.item() == 1);
  Names order;
  net.apply(
      [&](nn::Module& m) { order.push_back(m.named_modules().size() > 1 ? "inner" : "leaf"); });
  CHECK(order == Names{"leaf", "leaf", "leaf", "inner", "inner"});  // children first
}

TEST_CASE("Conversion changes floating-point tensors only") {
  Net net;
  const Tensor before = net.weight;
  net.to(DType::f32);
  CHECK(net.weight.is_same(before));
  net.first.requires_grad_(false);
  net.to(DType::f64);
  CHECK(net.weight.dtype() == DType::f64);
  CHECK(net.weight.layout() == nn::FileLayout::oihw);
  CHECK(net.weight.requires_grad());
  CHECK_FALSE(net.first.slope.requires_grad());
  CHECK(net.first.calls.dtype() == DType::i64);
  CHECK(values_of(net.weight) == values_of(before));
  CHECK_THROWS_AS(net.to(DType::i64), Error);
}

TEST_CASE("A module that is on the device already stays as it is") {
  Net net;
  const Tensor before = net.weight;
  net.to(kCpu);
  CHECK(net.weight.is_same(before));
  CHECK_THROWS_AS(net.to(Device{DeviceType::cuda, 63}), Error);
  CHECK(net.weight.is_same(before));
}

TEST_CASE("Members need names of their own") {
  class Twice : public nn::Module {
   public:
    nn::Parameter a{zeros({1})}, b{zeros({1})};
    void members(nn::Members& m) override { m("a", a), m("a", b); }
  };
  CHECK_THAT(message_of([] { Twice().named_parameters(); }), ContainsSubstring("\"a\" twice"));
  class Dotted : public Twice {
   public:
    void members(nn::Members& m) override { m("a.b", a); }
  };
  CHECK_THROWS_AS(Dotted().named_parameters(), Error);
  CHECK_THROWS_AS(nn::Parameter(zeros({3, 2}), nn::FileLayout::oihw), Error);
}

TEST_CASE("A state dict has the files' layout and shares memory") {
  Net net;
  const StateDict state = net.state_dict();
  CHECK(state.size() == 9);
  CHECK(state.at("weight").shape() == Dims{4, 2, 3, 3});
  CHECK(state.at("weight").storage() == net.weight.storage());
  CHECK_FALSE(state.at("weight").requires_grad());
  // Element [o, i, h, w] of the file is [o, h, w, i] in memory.
  CHECK(select(select(select(select(state.at("weight"), 0, 3), 0, 1), 0, 2), 0, 0).item() ==
        net.weight.data<float>()[((3 * 3 + 2) * 3 + 0) * 2 + 1]);
  CHECK(nn::select(state, "body.").size() == 5);
  CHECK(nn::select(state, "body.").contains("1.slope"));
}

TEST_CASE("Saving and loading gives the same bits") {
  const Folder folder;
  Net net;
  net(ones({2}));
  write_safetensors(folder / "net.safetensors", net.state_dict());
  Net other;
  nn::init::constant_(other.first.slope, -1);
  other.load_state_dict(read_safetensors(folder / "net.safetensors"));
  for (const auto& [name, tensor] : net.state_dict()) {
    CHECK(values_of(other.state_dict().at(name)) == values_of(tensor));
  }
  CHECK(other.weight.requires_grad());
  CHECK(other.first.calls.item() == 1);
}

TEST_CASE("What does not fit is listed, and nothing is changed") {
  Net net;
  StateDict good = Net().state_dict();
  const auto before = values_of(net.weight);

  StateDict bad = good;
  bad.emplace("first.slop", bad.at("first.slope"));
  bad.erase("first.slope");
  bad["weight"] = zeros({4, 3, 3, 2});
  bad["body.0.calls"] = zeros({});
  const std::string message = message_of([&] { net.load_state_dict(bad); });
  CAPTURE(message);
  CHECK_THAT(message, ContainsSubstring("missing: first.slope (nearest unexpected: first.slop)"));
  CHECK_THAT(message, ContainsSubstring("unexpected: first.slop (nearest missing: first.slope)"));
  CHECK_THAT(message, ContainsSubstring(
                          "does not fit: weight: f32 [4, 3, 3, 2] instead of f32 [4, 2, 3, 3]"));
  CHECK_THAT(message, ContainsSubstring("does not fit: body.0.calls: f32 [] instead of i64 []"));
  CHECK(values_of(net.weight) == before);

  bad = good;
  bad.erase("body.0.slope");
  bad["fc.weight"] = zeros({3});
  CHECK_THROWS_AS(net.load_state_dict(bad), Error);
  const nn::LoadReport report = net.load_state_dict(bad, /*strict=*/false);
  CHECK(report.missing == Names{"body.0.slope"});
  CHECK(report.unexpected == Names{"fc.weight"});
  CHECK(values_of(net.state_dict().at("weight")) == values_of(bad["weight"]));
  bad["weight"] = zeros({1});
  CHECK_THROWS_AS(net.load_state_dict(bad, false), Error);

  // Floating dtypes convert, the model's stay.
  good["first.slope"] = tensor({0.5, 0.25}, {.dtype = DType::f64});
  net.load_state_dict(good);
  CHECK(net.first.slope.dtype() == DType::f32);
  CHECK(values_of(net.first.slope) == std::vector<double>{0.5, 0.25});

  // Long lists are cut.
  StateDict many;
  for (int i = 0; i < 100; ++i) many["x" + std::to_string(i)] = zeros({1});
  CHECK_THAT(message_of([&] { net.load_state_dict(many); }), ContainsSubstring("and 80 more"));
}

TEST_CASE("Initialisation has the statistics that it says") {
  Generator generator(7);
  const auto statistics = [](const Tensor& x) {
    double mean = 0, square = 0, largest = 0;
    const auto values = values_of(x);
    for (double v : values) {
      mean += v;
      square += v * v;
      largest = std::max(largest, std::abs(v));
    }
    const double n = static_cast<double>(values.size());
    return std::array<double, 3>{mean / n, std::sqrt(square / n), largest};
  };
  const Tensor w = empty({64, 3, 3, 32}), linear = empty({200, 100});
  CHECK(nn::init::fans(w).in == 32 * 9);
  CHECK(nn::init::fans(w).out == 64 * 9);
  CHECK(nn::init::fans(linear).in == 100);
  CHECK_THROWS_AS(nn::init::fans(empty({3})), Error);

  // Standard deviations of 18,432 draws lie within 3 % of what they should be.
  struct Case {
    const char* name;
    Tensor x;
    double std, bound;
  };
  using namespace nn::init;
  const double conv_in = 288, conv_out = 576;
  const Case cases[] = {
      {"uniform", uniform_(clone(w), -1, 1, generator), 1 / std::sqrt(3.0), 1},
      {"normal", normal_(clone(w), 0, 2, generator), 2, 20},
      {"kaiming uniform", kaiming_uniform_(clone(w), {}, generator), std::sqrt(2 / conv_in),
       std::sqrt(6 / conv_in)},
      {"PyTorch's default",
       kaiming_uniform_(clone(linear), {.negative_slope = std::sqrt(5.0)}, generator),
       std::sqrt(1.0 / 300), 0.1},
      {"kaiming normal",
       kaiming_normal_(clone(w), {.mode = FanMode::fan_out, .nonlinearity = Nonlinearity::relu},
                       generator),
       std::sqrt(2 / conv_out), 1},
      {"xavier uniform", xavier_uniform_(clone(linear), 1, generator), std::sqrt(2.0 / 300),
       std::sqrt(6.0 / 300)},
      {"xavier normal", xavier_normal_(clone(linear), 2, generator), 2 * std::sqrt(2.0 / 300), 2},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const auto [mean, std, largest] = statistics(c.x);
    CHECK_THAT(mean, WithinAbs(0, c.std * 0.03));
    CHECK_THAT(std, WithinRel(c.std, 0.03));
    CHECK(largest <= c.bound);
  }
  CHECK(gain(Nonlinearity::tanh) == 5.0 / 3);
  CHECK(gain(Nonlinearity::relu) == std::sqrt(2.0));
  CHECK(values_of(constant_(empty({2}), 3)) == std::vector<double>{3, 3});
  CHECK_THROWS_AS(uniform_(empty({2}), 1, 0), Error);
  CHECK_THROWS_AS(uniform_(empty({2}), -3e38, 3e38), Error);
  CHECK_THROWS_AS(normal_(empty({2}), 0, -1), Error);
}

TEST_CASE("Initialisation fills parameters in place without history") {
  nn::Parameter p(zeros({3, 2}));
  const Tensor handle = p;
  nn::init::uniform_(p, 1, 2);
  CHECK(p.is_same(handle));
  CHECK(p.is_leaf());
  CHECK(values_of(p)[5] >= 1);
}

TEST_CASE("Parameters and buffers are printed as tensors") {
  CHECK(fmt::format("{}", nn::Parameter(ones({2}))) == to_string(ones({2}).requires_grad_()));
  CHECK(fmt::format("{}", nn::Buffer(ones({2}))) == to_string(ones({2})));
}

TEST_CASE("An average follows the model, buffers included") {
  Net net;
  nn::Ema<Net> average(net, 0.75);
  CHECK_FALSE(average.model().is_training());
  CHECK_FALSE(average.model().weight.requires_grad());
  nn::init::constant_(net.first.slope, 7);  // was 3
  net(ones({2}));
  average.update(net);
  CHECK(values_of(average.model().first.slope) == std::vector<double>{4, 4});
  CHECK(average.model().first.calls.item() == 1);
  average.set_decay(0);
  average.update(net);
  CHECK(values_of(average.model().first.slope) == std::vector<double>{7, 7});
  CHECK(net.first.slope.requires_grad());

  Affine other;
  CHECK_THROWS_AS(nn::ema_update_(other, net, 0.5), Error);
  CHECK_THROWS_AS(nn::ema_update_(average.model(), net, 7), Error);
  CHECK_THROWS_AS(nn::Ema<Net>(net, 1.5), Error);
  CHECK_THROWS_AS(average.set_decay(3), Error);
}
