// The profiler: names, counts and amounts for a network small enough to count by hand.
#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/file.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/profile.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <nlohmann/json.hpp>

#include "nn_testing.hpp"

using namespace invar;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Two layers that are called through operator().
class Net : public nn::Module {
 public:
  Tensor forward(const Tensor& x) override { return head(relu(flatten(conv(x), 1))); }

  nn::Conv2d conv{3, 4, 3};  // [N,6,6,3] -> [N,4,4,4]
  nn::Linear head{64, 5};

 private:
  void members(nn::Members& m) override { m("conv", conv), m("head", head); }
};

const ProfileRow& row(const std::vector<ProfileRow>& rows, const std::string& name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& r) { return r.name == name; });
  INFO("row " << name);
  REQUIRE(found != rows.end());
  return *found;
}

}  // namespace

TEST_CASE("Profiler: calls, amounts and times by operation and by module", "[unit]") {
  Net net;
  const Tensor x = randn({2, 6, 6, 3});
  Profiler profiler;
  nn::name_modules(profiler, net, "net");
  {
    ProfilerScope scope(profiler);
    sum(net(x)).backward();
    sum(net(x)).backward();
  }
  const auto operations = profiler.operations();
  const ProfileRow& conv = row(operations, "conv2d");
  CHECK(conv.forward_calls == 2);
  CHECK(conv.backward_calls == 2);
  // Forward, and the gradients of the weights; x wants none.
  CHECK(conv.flops == 2 * 2 * (2.0 * (2 * 4 * 4 * 4) * (3 * 3 * 3)));
  CHECK(conv.forward_s > 0);
  CHECK(conv.backward_s > 0);
  CHECK(conv.kernel_s <= conv.forward_s + conv.backward_s);
  CHECK(conv.memory_bytes > 0);
  const ProfileRow& linear = row(operations, "linear");
  CHECK(linear.forward_calls == 2);
  CHECK(linear.backward_calls == 2);
  CHECK(linear.flops == 2 * 3 * (2.0 * (2 * 5) * 64));
  const ProfileRow& rectified = row(operations, "relu");
  CHECK(rectified.forward_calls == 2);
  CHECK(rectified.backward_calls == 2);
  CHECK(rectified.flops == 0);
  // Forward: x and y; backward: g, y and the result; 128 numbers each.
  CHECK(rectified.bytes == 2 * (2 + 3) * 128 * 4.0);

  const auto modules = profiler.modules();
  REQUIRE(modules.size() == 3);
  const ProfileRow& all = row(modules, "net");
  const ProfileRow& part = row(modules, "net.conv");
  CHECK(all.forward_calls == 2);
  CHECK(part.forward_calls == 2);
  CHECK(part.backward_calls == 2);
  CHECK(part.flops == conv.flops);
  CHECK(all.flops == conv.flops + linear.flops);
  CHECK(all.forward_s >= part.forward_s + row(modules, "net.head").forward_s);
  CHECK(all.backward_s >= part.backward_s + row(modules, "net.head").backward_s);
  CHECK(all.memory_bytes > 0);

  const std::string table = profiler.table();
  CHECK_THAT(table, ContainsSubstring("conv2d") && ContainsSubstring("net.head") &&
                        ContainsSubstring("GFLOP/s"));
  CHECK_THAT(profiler.table(1), ContainsSubstring("more"));
}

TEST_CASE("Profiler: the tensors inside of a kernel's structs count, too", "[unit]") {
  nn::BatchNorm2d norm(4);
  const Tensor x = randn({2, 8, 8, 4}, {.requires_grad = true}), g = randn({2, 8, 8, 4});
  Profiler profiler;
  {
    ProfilerScope scope(profiler);
    backward({norm(x)}, {g});
  }
  const double image = 2 * 8 * 8 * 4 * 4, channels = 4 * 4;
  // Statistics: x, mean, var, rstd. Then x, mean, rstd, weight, bias and y; backward x, mean, rstd,
  // weight, the gradient and its three results.
  CHECK(row(profiler.operations(), "batch_norm").bytes ==
        (image + 3 * channels) + (2 * image + 4 * channels) + (3 * image + 5 * channels));
}

TEST_CASE("Profiler: modules without a name go by their types", "[unit]") {
  Net net;
  Profiler profiler;
  {
    ProfilerScope scope(profiler);
    net(randn({1, 6, 6, 3}));
  }
  CHECK(row(profiler.modules(), "Net.Conv2d").forward_calls == 1);
}

TEST_CASE("Profiler: outside of a scope nothing is recorded", "[unit]") {
  const Tensor x = randn({4, 4}, {.requires_grad = true});
  Profiler profiler;
  Tensor y = x * x;
  { ProfilerScope scope(profiler); }
  sum(y * x).backward();
  CHECK(profiler.operations().empty());
  CHECK(profiler.modules().empty());

  // What was recorded under another profiler, or before clear(), does not confuse this one.
  Net net;
  Tensor loss;
  {
    ProfilerScope scope(profiler);
    loss = sum(net(randn({1, 6, 6, 3})));
  }
  profiler.clear();
  CHECK(profiler.operations().empty());
  Profiler other;
  {
    ProfilerScope outer(profiler);
    {
      ProfilerScope inner(other);
      loss.backward();
    }
    x + x;
  }
  CHECK(row(other.operations(), "conv2d").backward_calls == 1);
  CHECK(other.modules().empty());
  CHECK(profiler.operations().size() == 1);
}

TEST_CASE("Profiler: a call that throws is closed", "[unit]") {
  Net net;
  Profiler profiler;
  {
    ProfilerScope scope(profiler);
    CHECK_THROWS_AS(net(randn({2, 2})), Error);
    net(randn({1, 6, 6, 3}));
  }
  CHECK(row(profiler.modules(), "Net").forward_calls == 2);
}

TEST_CASE("Profiler: the trace is JSON of spans that nest", "[unit]") {
  Net net;
  Profiler profiler;
  nn::name_modules(profiler, net);
  {
    ProfilerScope scope(profiler);
    sum(net(randn({2, 6, 6, 3}))).backward();
  }
  const Folder folder;
  const auto path = folder / "trace.json";
  profiler.write_trace(path);
  const auto trace = nlohmann::json::parse(read_file(path));
  int kernels = 0, nodes = 0, modules = 0, samples = 0;
  double conv_begin = -1, conv_end = -1;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "C") {
      ++samples;
      continue;
    }
    REQUIRE(event.at("ph") == "X");
    CHECK(event.at("dur").get<double>() >= 0);
    const std::string category = event.at("cat");
    kernels += category == "kernel";
    nodes += category == "node";
    modules += category == "module";
    const double begin = event.at("ts"), end = begin + event.at("dur").get<double>();
    if (event.at("name") == "network.conv") conv_begin = begin, conv_end = end;
    if (category == "kernel" && event.at("name") == "conv2d") {
      CHECK(begin >= conv_begin);
      CHECK(end <= Approx(conv_end));
      CHECK(event.at("args").at("tensors").get<std::string>().starts_with("f32 [2, 6, 6, 3]"));
    }
  }
  CHECK(modules == 3);
  CHECK(nodes >= 4);
  CHECK(kernels == samples);
}
