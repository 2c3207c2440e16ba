// kNN and the linear probe on features whose answers are known.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <invar/core/random.hpp>
#include <invar/nn/modules.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/evaluation.hpp>
#include <invar/ssl/expander.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

Tensor labels_of(std::initializer_list<double> values) {
  return tensor(values, {.dtype = DType::i64});
}

/// Three clouds around the axes of [n, 3], labels i mod 3.
ssl::LabelledFeatures clouds(std::int64_t n, double noise) {
  Tensor features = randn({n, 3}) * noise;
  Tensor labels = empty({n}, {.dtype = DType::i64});
  for (std::int64_t i = 0; i < n; ++i) {
    labels.data<std::int64_t>()[i] = i % 3;
    features.data<float>()[i * 3 + i % 3] += 1;
  }
  return {features, labels};
}

}  // namespace

TEST_CASE("kNN votes by weighted cosine similarity", "[unit]") {
  // By hand: the query's neighbours are one close sample of class 1 and two further of class 0.
  const ssl::LabelledFeatures train{
      tensor(std::vector<double>{1, 0.1, 0.6, 0.8, 0.6, -0.8, -1, 0}, {4, 2}),
      labels_of({1, 0, 0, 2})};
  const Tensor query = tensor(std::vector<double>{5, 0}, {1, 2});  // length does not matter
  // Cosines .995, .6, .6: at T = .07 the close one outweighs two; at T = 10 it does not.
  CHECK(ssl::knn_accuracy(train, {query, labels_of({1})}, 3, {.k = 3, .temperature = 0.07}) == 100);
  CHECK(ssl::knn_accuracy(train, {query, labels_of({0})}, 3, {.k = 3, .temperature = 10}) == 100);
  CHECK(ssl::knn_accuracy(train, {query, labels_of({0})}, 3, {.k = 1}) == 0);
  // However low the temperature: e^(similarity / T) itself would be infinite.
  const ssl::LabelledFeatures near{tensor(std::vector<double>{0.99, 0.141, 0.95, 0.312}, {2, 2}),
                                   labels_of({1, 0})};
  CHECK(ssl::knn_accuracy(near, {query, labels_of({1})}, 2, {.k = 2, .temperature = 0.001}) == 100);
  // More neighbours than samples: all of them.
  CHECK(ssl::knn_accuracy(train, {query, labels_of({0})}, 3, {.k = 99, .temperature = 10}) == 100);
}

TEST_CASE("kNN and the linear probe separate what is separable", "[unit]") {
  manual_seed(1);
  const auto train = clouds(600, 0.1), test = clouds(700, 0.1);
  CHECK(ssl::knn_accuracy(train, test, 3) > 99);
  CHECK(ssl::linear_probe(train, test, 3, {.batch_size = 64}) > 99);
  // Labels that have nothing to do with the features: a third is right by chance.
  auto shuffled = test;
  shuffled.labels = randint(0, 3, {700});
  CHECK(ssl::knn_accuracy(train, shuffled, 3) < 45);
}

TEST_CASE("evaluation tells its progress from none to all", "[unit]") {
  const auto train = clouds(120, 0.1), test = clouds(1100, 0.1);
  std::vector<std::int64_t> told;
  const auto note = [&](std::int64_t done, std::int64_t total) {
    told.push_back(done);
    CHECK(done <= total);
    if (done == total) told.push_back(-1);
  };
  ssl::knn_accuracy(train, test, 3, {.progress = note});
  CHECK(told == std::vector<std::int64_t>{0, 500, 1000, 1100, -1});
  told.clear();
  ssl::linear_probe(train, test, 3, {.epochs = 2, .batch_size = 60, .progress = note});
  CHECK(told == std::vector<std::int64_t>{0, 60, 120, 180, 240, -1});
}

TEST_CASE("the linear probe repeats for a seed and ignores the default generator", "[unit]") {
  manual_seed(2);
  const auto train = clouds(300, 1.0), test = clouds(200, 1.0);
  const auto before = default_generator().state();
  const double first = ssl::linear_probe(train, test, 3, {.epochs = 3, .batch_size = 50});
  CHECK(default_generator().state() == before);
  rand({100});
  CHECK(ssl::linear_probe(train, test, 3, {.epochs = 3, .batch_size = 50}) == first);
}

TEST_CASE("the linear probe is blind to scale and shift of the features", "[unit]") {
  manual_seed(3);
  const auto train = clouds(300, 0.5), test = clouds(200, 0.5);
  const auto moved = [](const ssl::LabelledFeatures& set) {
    return ssl::LabelledFeatures{set.features * 64.0 + 1024.0, set.labels};
  };
  const double plain = ssl::linear_probe(train, test, 3, {.batch_size = 50});
  const double other = ssl::linear_probe(moved(train), moved(test), 3, {.batch_size = 50});
  CHECK(std::abs(plain - other) <= 0.5);
}

TEST_CASE("the linear probe does not blow up what was constant in training", "[unit]") {
  manual_seed(3);
  auto train = clouds(600, 0.1), test = clouds(300, 0.1);
  // Dead in training, a little alive in the test.
  train.features = cat({train.features, zeros({600, 8})}, 1);
  test.features = cat({test.features, rand({300, 8}) * 0.05}, 1);
  CHECK(ssl::linear_probe(train, test, 3, {.batch_size = 64}) > 99);
}

TEST_CASE("features are extracted in eval mode and in order", "[unit]") {
  manual_seed(4);
  nn::Sequential encoder(nn::Flatten(), nn::Linear(4, 3), nn::BatchNorm1d(3));
  const Tensor images = randn({5, 2, 2, 1});
  int calls = 0;
  const auto next = [&]() -> std::pair<Tensor, Tensor> {
    if (++calls > 2) return {};
    const std::int64_t from = calls == 1 ? 0 : 3, n = calls == 1 ? 3 : 2;
    return {narrow(images, 0, from, n), arange(from, from + n, 1, {.dtype = DType::i64})};
  };
  const auto result = ssl::extract_features(encoder, next);
  CHECK(result.features.shape() == Dims{5, 3});
  CHECK_FALSE(result.features.requires_grad());
  CHECK(encoder.is_training());
  {  // a part that is frozen stays so
    auto& norm = *encoder.named_modules().back().second;
    norm.eval();
    calls = 0;
    ssl::extract_features(encoder, next);
    CHECK_FALSE(norm.is_training());
    CHECK(encoder.is_training());
    calls = 0;
    const auto broken = [&]() -> std::pair<Tensor, Tensor> {
      fail("images", "expected an image, got none");
    };
    CHECK_THROWS_AS(ssl::extract_features(encoder, broken), Error);
    CHECK(encoder.is_training());
  }
  for (std::int64_t i = 0; i < 5; ++i) CHECK(result.labels.data<std::int64_t>()[i] == i);
  encoder.eval();
  const Tensor whole = encoder(images);
  for (std::int64_t i = 0; i < 15; ++i) {
    CHECK(std::abs(whole.data<float>()[i] - result.features.data<float>()[i]) < 1e-5f);
  }
}

TEST_CASE("evaluation refuses what does not fit", "[unit]") {
  const auto message_of = [](const ssl::LabelledFeatures& train,
                             const ssl::LabelledFeatures& test) {
    try {
      ssl::knn_accuracy(train, test, 3);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const ssl::LabelledFeatures good{ones({2, 4}), labels_of({0, 2})};
  CHECK_THAT(message_of(good, {ones({2, 5}), labels_of({0, 1})}), ContainsSubstring("one width"));
  CHECK_THAT(message_of(good, {ones({2, 4}), labels_of({0, 3})}), ContainsSubstring("[0, 3)"));
  CHECK_THAT(message_of(good, {ones({2, 4}), labels_of({0})}), ContainsSubstring("labels [n]"));
}

TEST_CASE("the expander's layers", "[unit]") {
  manual_seed(5);
  nn::Sequential expander = ssl::make_expander(6, {.layers = {8, 8, 4}});
  CHECK(expander.size() == 7);
  CHECK(expander(randn({3, 6})).shape() == Dims{3, 4});
  std::vector<std::string> names;
  for (const auto& p : expander.named_parameters()) names.push_back(p.name);
  CHECK(names == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "3.weight",
                                          "3.bias", "4.weight", "4.bias", "6.weight"});
  const nn::Sequential plain =
      ssl::make_expander(6, {.layers = {8, 8, 4}, .hidden_batch_norm = false});
  CHECK(plain.size() == 5);
  CHECK(plain.named_buffers().empty());
  const Tensor x = randn({3, 6});
  CHECK(ssl::make_expander(6, {.layers = {}})(x).is_same(x));
}
