// Winograd's algorithm against the f64 reference: all three passes, sizes that tiles of 4x4 and
// vectors of channels do not divide, any padding.
#include <omp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cstring>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/conv_choices.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <vector>

using namespace invar;

namespace {

/// Restores the choice of the algorithm at the end of a test.
struct AlgorithmScope {
  explicit AlgorithmScope(ConvAlgorithm algorithm) { set_conv_algorithm(algorithm); }
  ~AlgorithmScope() { set_conv_algorithm(before); }
  ConvAlgorithm before = conv_algorithm();
};

struct Shape {
  std::int64_t images, height, width, inputs, outputs;
  Size2 padding = 1;
  std::int64_t stride = 1;

  Conv2dOptions options() const { return {.stride = stride, .padding = padding}; }
};

/// Root mean square of a - b relative to that of b.
double relative_error(const Tensor& a, const Tensor& b) {
  const Tensor difference = to(a, DType::f64) - b;
  return std::sqrt(sum(square(difference)).item() / sum(square(b)).item());
}

Tensors passes(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& g,
               const Conv2dOptions& o) {
  return {conv2d(x, w, bias, o), conv2d_backward_input(g, w, x.shape(), o),
          conv2d_backward_weight(g, x, w.shape(), o)};
}

Tensors random_problem(const Shape& s, DType dtype) {
  manual_seed(1);
  const Tensor x = relu(randn({s.images, s.height, s.width, s.inputs}));
  const Tensor w = randn({s.outputs, 3, 3, s.inputs}), bias = randn({s.outputs});
  const Tensor g = randn({s.images, (s.height + 2 * s.padding.height - 3) / s.stride + 1,
                          (s.width + 2 * s.padding.width - 3) / s.stride + 1, s.outputs});
  return {to(x, dtype), to(w, dtype), bias, to(g, dtype)};
}

const Shape kShapes[] = {
    {2, 8, 8, 16, 16},
    {3, 7, 5, 24, 17},
    {1, 4, 4, 1, 1},
    {5, 14, 14, 3, 33},
    {2, 3, 3, 8, 6, 0},
    {2, 9, 11, 5, 40, Size2(0, 2)},
    {1, 6, 6, 300, 20},
    {2, 5, 6, 10, 11, Size2(4, 3)},
    {40, 28, 28, 16, 16},
    {80, 14, 14, 16, 16},
    {300, 10, 7, 20, 16},
    {64, 4, 4, 128, 96},
    // stride 2
    {2, 16, 16, 16, 32, 1, 2},
    {3, 7, 5, 24, 17, 1, 2},
    {1, 4, 4, 1, 1, 1, 2},
    {5, 14, 15, 3, 33, 1, 2},
    {2, 3, 3, 8, 6, 0, 2},
    {2, 11, 18, 5, 40, Size2(0, 2), 2},
    {1, 6, 9, 300, 20, 2, 2},
    {2, 5, 6, 10, 11, Size2(4, 3), 2},
    {40, 28, 28, 16, 32, 1, 2},
    {64, 8, 8, 128, 96, 1, 2},
    {2, 20, 13, 30, 16, Size2(1, 0), 2},
    {1, 1, 2, 7, 5, 1, 2},
};

}  // namespace

// bf16: Note [Winograd in bf16] (winograd_kernels.hpp) where the processor multiplies bf16, f32
// whose result is rounded elsewhere.
TEST_CASE("Winograd convolution agrees with the f64 reference", "[unit][conv2d]") {
  const AlgorithmScope scope(ConvAlgorithm::winograd);
  const auto [dtype, tolerance] =
      GENERATE(std::pair(DType::f32, 5e-6), std::pair(DType::bf16, 4e-2));
  for (const Shape& s : kShapes) {
    const Tensors p = random_problem(s, dtype);
    const Tensors ours = passes(p[0], p[1], p[2], p[3], s.options());
    const auto f64 = [](const Tensor& t) { return to(t, DType::f64); };
    const Tensors exact = passes(f64(p[0]), f64(p[1]), f64(p[2]), f64(p[3]), s.options());
    CAPTURE(dtype, s.images, s.height, s.width, s.inputs, s.outputs);
    for (std::size_t pass = 0; pass < 3; ++pass) {
      CAPTURE(pass);
      CHECK(relative_error(ours[pass], exact[pass]) < tolerance);
    }
  }
}

TEST_CASE("Winograd convolution gives the same bits for any number of threads", "[unit][conv2d]") {
  const AlgorithmScope scope(ConvAlgorithm::winograd);
  const int threads = omp_get_max_threads();
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  for (const Shape& s : kShapes) {
    const Tensors p = random_problem(s, dtype);
    omp_set_num_threads(1);
    const Tensors one = passes(p[0], p[1], p[2], p[3], s.options());
    for (const int n : {2, 3}) {
      omp_set_num_threads(n);
      const Tensors many = passes(p[0], p[1], p[2], p[3], s.options());
      for (std::size_t pass = 0; pass < 3; ++pass) {
        CAPTURE(dtype, s.images, s.inputs, s.outputs, n, pass);
        CHECK(std::memcmp(
                  one[pass].raw_data(), many[pass].raw_data(),
                  static_cast<std::size_t>(one[pass].numel()) * size_of(one[pass].dtype())) == 0);
      }
    }
    omp_set_num_threads(threads);
  }
}

TEST_CASE("Winograd convolution inside a parallel region of the caller's own", "[unit][conv2d]") {
  const AlgorithmScope scope(ConvAlgorithm::winograd);
  constexpr int kThreads = 6;  // more than omp_get_max_threads() may say
  const int before = omp_get_max_threads();
  omp_set_num_threads(2);
  for (const Shape& s : kShapes) {
    const Tensors p = random_problem(s, DType::f32);
    const auto ours = [&] { return passes(p[0], p[1], p[2], p[3], s.options()); };
    const Tensors alone = ours();
    std::vector<Tensors> nested(kThreads);
#pragma omp parallel num_threads(kThreads)
    nested[static_cast<std::size_t>(omp_get_thread_num())] = ours();
    for (const Tensors& each : nested) {
      if (each.empty()) continue;  // fewer threads were given
      for (std::size_t pass = 0; pass < 3; ++pass) {
        CAPTURE(s.images, s.inputs, pass);
        CHECK(all(eq(each[pass], alone[pass])).item<bool>());
      }
    }
  }
  omp_set_num_threads(before);
}

TEST_CASE("Choices decide which algorithm computes each pass", "[unit][conv2d]") {
  struct Restore {
    ConvChoices before = conv_choices();
    ~Restore() { set_conv_choices(before); }
  } restore;
  const auto same = [](const Tensor& a, const Tensor& b) {
    return std::memcmp(a.raw_data(), b.raw_data(),
                       static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
  };
  const Shape shape{2, 8, 8, 16, 16};
  const Tensors p = random_problem(shape, DType::f32);
  const auto ours = [&] { return passes(p[0], p[1], p[2], p[3], shape.options()); };
  const auto made_by = [&](ConvAlgorithm algorithm) {
    const AlgorithmScope scope(algorithm);
    return ours();
  };
  const Tensors direct = made_by(ConvAlgorithm::direct);
  const Tensors winograd = made_by(ConvAlgorithm::winograd);
  for (std::size_t i = 0; i < 3; ++i) REQUIRE(!same(direct[i], winograd[i]));
  const auto problem = [&](unsigned pass) {
    return ConvProblem{static_cast<ConvPass>(pass),
                       DType::f32,
                       p[0].shape(),
                       p[1].shape(),
                       shape.padding,
                       shape.stride};
  };

  // Every pass by itself: the eight combinations.
  for (unsigned mask = 0; mask < 8; ++mask) {
    const auto is_winograd = [&](unsigned i) { return (mask >> i & 1) != 0; };
    ConvChoices choices;
    for (unsigned i = 0; i < 3; ++i) {
      choices.push_back(
          {problem(i), is_winograd(i) ? ConvAlgorithm::winograd : ConvAlgorithm::direct});
    }
    set_conv_choices(choices);
    CHECK(conv_choices() == choices);
    const Tensors chosen = ours();
    for (unsigned i = 0; i < 3; ++i) {
      CAPTURE(mask, i);
      CHECK(same(chosen[i], is_winograd(i) ? winograd[i] : direct[i]));
    }
    // An algorithm that the user asks for comes first.
    CHECK(same(made_by(ConvAlgorithm::direct)[0], direct[0]));
  }

  // Of another padding, stride, dtype or number of images nothing is said.
  const ConvChoice choice{problem(0), ConvAlgorithm::direct};
  set_conv_choices({choice});
  CHECK(conv_algorithm(problem(0)) == ConvAlgorithm::direct);
  ConvProblem other = problem(0);
  other.padding = 0;
  CHECK(conv_algorithm(other) == ConvAlgorithm::automatic);
  other = problem(0);
  other.stride = 2;
  CHECK(conv_algorithm(other) == ConvAlgorithm::automatic);
  other = problem(0);
  other.dtype = DType::bf16;
  CHECK(conv_algorithm(other) == ConvAlgorithm::automatic);
  other = problem(0);
  other.input[0] = 3;
  CHECK(conv_algorithm(other) == ConvAlgorithm::automatic);
  CHECK_THROWS_AS(set_conv_choices({{problem(0), ConvAlgorithm::automatic}}), Error);
  CHECK(conv_choices() == ConvChoices{choice});

  // Tuning finds the three passes once, computes the same, and leaves its choices.
  Tensors tuned;
  const std::vector<ConvTiming> timings = tune_convolutions([&] { tuned = (ours(), ours()); });
  REQUIRE(timings.size() == 3);
  for (unsigned i = 0; i < 3; ++i) {
    CHECK(timings[i].choice.problem == problem(i));
    CHECK(timings[i].direct_ms > 0);
    CHECK(timings[i].winograd_ms > 0);
    CHECK(conv_choices()[i] == timings[i].choice);
    CHECK((timings[i].choice.algorithm == ConvAlgorithm::direct) ==
          (timings[i].direct_ms < timings[i].winograd_ms));
    CHECK((same(tuned[i], direct[i]) || same(tuned[i], winograd[i])));
  }
  const AlgorithmScope scope(ConvAlgorithm::direct);
  CHECK_THROWS_AS(tune_convolutions([] {}), Error);
}
