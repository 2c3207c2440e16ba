// Work that is recorded and replayed: the same numbers as without. Skipped without a GPU.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/cuda/graph.hpp>
#include <invar/core/random.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/step_graph.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/pending_copy.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

#include "gpu.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The number of elements that differ.
double differences(const Tensor& a, const Tensor& b) {
  return sum(to(ne(to(a, kCpu), to(b, kCpu)), DType::f64)).item();
}

Tensor on_gpu(std::initializer_list<double> values) { return to(tensor(values), kGpu); }

/// Convolution, batch-norm, two layers with bias.
class Network : public nn::Module {
 public:
  Network() : conv(3, 8, 3), norm(8), hidden(8, 16), last(16, 4) {}
  Tensor forward(const Tensor& x) override {
    const Tensor features = mean(norm.forward_relu(conv(x)), {1, 2});
    return last(relu(hidden(features)));
  }
  nn::Conv2d conv;
  nn::BatchNorm2d norm;
  nn::Linear hidden, last;

 private:
  void members(nn::Members& m) override {
    m("conv", conv);
    m("norm", norm);
    m("hidden", hidden);
    m("last", last);
  }
};

}  // namespace

TEST_CASE("A graph does with new values what it has recorded", "[cuda]") {
  skip_without_gpu();
  const Tensor x = on_gpu({1, 2, 3});
  Tensor y, total;
  cuda::Graph graph(kGpu);
  CHECK_THROWS_WITH(graph.replay(), ContainsSubstring("call record()"));
  graph.record([&] {
    y = x * 2 + 1;
    total = sum(y);
  });
  for (double value = 1; value < 4; ++value) {
    fill_(x, value);
    // What others allocate is not the graph's.
    const Tensor between = full({3}, -1, {.device = kGpu});
    graph.replay();
    CHECK(total.item() == 3 * (2 * value + 1));
    CHECK(sum(between).item() == -3);
  }
  CHECK_THROWS_WITH(graph.record([] {}), ContainsSubstring("expected a new graph"));
}

TEST_CASE("A graph outlives nothing of its own but what is held", "[cuda]") {
  skip_without_gpu();
  Tensor y;
  {
    const Tensor x = on_gpu({1, 2});
    cuda::Graph graph(kGpu);
    graph.record([&] { y = square(square(x) + 1); });
    graph.replay();
  }
  CHECK(sum(y).item() == 4 + 25);
}

TEST_CASE("What waits for the GPU is not recorded, and nothing else is harmed", "[cuda]") {
  skip_without_gpu();
  const Tensor x = on_gpu({1, 2, 3});
  const Tensor matrix = to(eye(3), kGpu), places = to(arange(0, 2, 1, {.dtype = DType::i64}), kGpu);
  for (const auto& f : std::vector<std::function<void()>>{
           [&] { sum(x).item(); }, [&] { to(x, kCpu); }, [&] { to(ones({3}), kGpu); },
           [&] { cholesky(matrix); }, [&] { index_select(x, 0, places); }}) {
    cuda::Graph graph(kGpu);
    manual_seed(1);
    CHECK_THROWS_AS(graph.record([&] {
      rand({3}, {.device = kGpu});
      f();
    }),
                    Error);
    CHECK(default_generator().state() == GeneratorState{1, 0});
    CHECK(sum(x + 1).item() == 9);
    graph.record([&] { add_(x, 0); });  // it can still be used
  }
}

TEST_CASE("Random numbers of a replay are those of a call", "[cuda]") {
  skip_without_gpu();
  const auto draw = [](Tensor& out) {
    const TensorOptions options{.device = kGpu};
    out = cat({rand({0}, options), rand({5}, options), randn({3}, options),
               to(bernoulli(0.3, {9}, options), DType::f32),
               to(randint(0, 100, {4}, {.dtype = DType::i64, .device = kGpu}), DType::f32)},
              0);
  };
  manual_seed(7);
  std::vector<Tensor> expected(4);
  for (Tensor& x : expected) draw(x);
  const GeneratorState end = default_generator().state();
  manual_seed(7);
  Tensor first, replayed;
  draw(first);
  cuda::Graph graph(kGpu);
  graph.record([&] { draw(replayed); });
  for (int i = 1; i < 4; ++i) {
    graph.replay();
    CHECK(differences(replayed, expected[static_cast<std::size_t>(i)]) == 0);
  }
  CHECK(default_generator().state() == end);
  manual_seed(8);
  CHECK_THROWS_WITH(graph.replay(), ContainsSubstring("with the seed 7"));
  cuda::Graph other(kGpu);
  for (const std::uint64_t seed : {5, 8}) {  // that of another seed, and a twin
    Generator generator(seed);
    CHECK_THROWS_WITH(other.record([&] { rand({3}, {.device = kGpu}, generator); }),
                      ContainsSubstring("default_generator()"));
  }
}

TEST_CASE("Training by replays is training", "[cuda]") {
  skip_without_gpu();
  // Bits are compared: no convolution may add in an order that changes from run to run.
  struct Deterministic {
    Deterministic() { cuda::use_deterministic_algorithms(true); }
    ~Deterministic() { cuda::use_deterministic_algorithms(false); }
  } deterministic;
  using MakeOptimizer = std::function<std::unique_ptr<nn::Optimizer>(const nn::Module&)>;
  const std::vector<MakeOptimizer> optimizers{
      [](const nn::Module& m) {
        return std::make_unique<nn::SGD>(m, nn::SGDOptions{.lr = 0.1, .momentum = 0.9});
      },
      [](const nn::Module& m) {
        return std::make_unique<nn::LARS>(m, nn::LARSOptions{.variant = LarsVariant::clipped});
      },
      [](const nn::Module& m) {
        return std::make_unique<nn::AdamW>(m, nn::AdamWOptions{.lr = 1e-2});
      }};
  for (std::size_t which = 0; which < optimizers.size(); ++which) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      CAPTURE(which, precision);
      // Every number of twelve steps, and what is left.
      const auto run = [&](bool graph) {
        manual_seed(3);
        Network network;
        network.to(kGpu);
        const auto optimizer = optimizers[which](network);
        const auto step = [&](const Tensors& in) -> Tensors {
          Tensor out;
          {
            const Autocast scope(precision);
            out = network(in[0] + 0.1 * randn(in[0].shape(), {.device = kGpu}));
          }
          const Tensor loss = mean(square(to(out, DType::f32) - in[1]));
          loss.backward();
          return {loss.detach()};
        };
        nn::StepGraph recorded(network, step, 2);
        Tensors all;
        for (int i = 0; i < 12; ++i) {
          const std::int64_t n = i == 7 ? 3 : 4;  // one ragged batch
          const Tensors in{to(randn({n, 6, 6, 3}), kGpu), to(randn({n, 4}), kGpu)};
          optimizer->set_lr(0.1 / (i + 1));
          if (graph) {
            all.push_back(clone(recorded(in)[0]));
            CHECK(recorded.is_recorded() == (i >= 2));
          } else {
            optimizer->zero_grad();
            all.push_back(step(in)[0]);
          }
          all.push_back(nn::clip_grad_norm_(network.parameters(), 0.5));
          optimizer->step();
        }
        CHECK(recorded.refusal().empty());
        for (const Tensor& p : network.parameters()) all.push_back(clone(p.detach()));
        for (const nn::NamedTensor& b : network.named_buffers()) all.push_back(clone(b.tensor));
        for (const auto& [name, x] : optimizer->state_dict().tensors) all.push_back(clone(x));
        return all;
      };
      const Tensors expected = run(false), got = run(true);
      REQUIRE(got.size() == expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(differences(got[i], expected[i]) == 0);
      }
    }
  }
}

TEST_CASE("A step that cannot be replayed is run", "[cuda]") {
  skip_without_gpu();
  Network network;
  network.to(kGpu);
  int calls = 0;
  bool waits = false;
  nn::StepGraph step(
      network,
      [&](const Tensors& in) -> Tensors {
        ++calls;
        const Tensor loss = mean(square(network(in[0])));
        loss.backward();
        if (waits) loss.item();
        return {loss.detach()};
      },
      1);
  const Tensors in{to(randn({4, 6, 6, 3}), kGpu)};
  SECTION("because it waits for the GPU") {
    waits = true;
    for (int i = 0; i < 4; ++i) step(in);
    CHECK_FALSE(step.is_recorded());
    CHECK_THAT(step.refusal(), ContainsSubstring("[graph] expected work that can be recorded"));
    CHECK(calls == 5);  // one of them was not done
    CHECK(network.norm.num_batches_tracked.item() == 4);
  }
  SECTION("because state is put in the place of state") {
    class Counting : public nn::Module {
     public:
      Counting() : seen(zeros({3})) {}
      Tensor forward(const Tensor& x) override {
        NoGrad guard;
        seen = nn::Buffer(seen + sum(x, {0}));
        return x * 2;
      }
      nn::Buffer seen;

     private:
      void members(nn::Members& m) override { m("seen", seen); }
    };
    Counting counting;
    counting.to(kGpu);
    nn::StepGraph counts(
        counting, [&](const Tensors& x) -> Tensors { return {counting(x[0])}; }, 1);
    for (int i = 1; i < 5; ++i) {
      counts({ones({2, 3}, {.device = kGpu})});
      CHECK(sum(counting.seen).item() == 6 * i);
    }
    CHECK_THAT(counts.refusal(), ContainsSubstring("[StepGraph] expected state that is written"));
  }
  SECTION("where something inside the module was switched") {
    for (int i = 0; i < 3; ++i) step(in);
    CHECK(calls == 2);
    const double tracked = network.norm.num_batches_tracked.item();
    network.norm.eval();
    step(in);
    CHECK(calls == 3);
    CHECK(network.norm.num_batches_tracked.item() == tracked);
    network.norm.train();
    step(in);
    CHECK(calls == 3);
    network.conv.weight.requires_grad_(false);
    step(in);
    CHECK(calls == 4);
    CHECK_FALSE(network.conv.weight.grad().defined());
    network.conv.weight.requires_grad_();
    step(in);
    CHECK(calls == 4);
    CHECK(network.conv.weight.grad().defined());
  }
  SECTION("in eval mode, in anomaly mode and with hooks") {
    for (int i = 0; i < 3; ++i) step(in);
    CHECK(calls == 2);
    const std::uint32_t version = network.norm.running_mean.version();
    step(in);
    CHECK(network.norm.running_mean.version() > version);
    CHECK(network.norm.num_batches_tracked.item() == 4);
    CHECK(calls == 2);
    network.eval();
    step(in);
    CHECK(calls == 3);
    network.train();
    {
      const AnomalyMode guard;
      step(in);
    }
    CHECK(calls == 4);
    int hooked = 0;
    network.last.weight.register_post_accumulate_grad_hook([&](const Tensor&) { ++hooked; });
    step(in);
    CHECK((calls == 5 && hooked == 1));
  }
}

TEST_CASE("Values are copied while work goes on", "[cuda]") {
  skip_without_gpu();
  const Tensor x = on_gpu({1, 2, 3});
  const PendingCopy before(x * 2);
  add_(x, 1);
  const PendingCopy after(transpose(reshape(x, {3, 1})));
  CHECK(sum(before.get()).item() == 12);
  CHECK(after.get().device() == kCpu);
  CHECK(sum(after.get()).item() == 9);
  CHECK(after.ready());
}

TEST_CASE("A copy of a CPU's values is there at once", "[unit]") {
  const Tensor x = ones({3});
  const PendingCopy copy(x);
  add_(x, 1);
  CHECK(copy.ready());
  CHECK(sum(copy.get()).item() == 3);
}
