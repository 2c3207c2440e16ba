#include <algorithm>
#include <atomic>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <invar/data/loader.hpp>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <thread>

#include "support.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Images whose pixels and label tell their number.
DatasetPtr numbered(std::int64_t size, ImageShape shape = {12, 10, 3}) {
  Bytes pixels;
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::size_t k = 0; k < shape.size(); ++k) {
      pixels.push_back(static_cast<std::uint8_t>(i * 31 + static_cast<std::int64_t>(k) * 7));
    }
    labels.push_back(i % 7);
  }
  return std::make_shared<MemoryDataset>(
      shape, pixels, labels, std::vector<std::string>{"a", "b", "c", "d", "e", "f", "g"});
}

std::vector<Pipeline> two_views() {
  return make_views(Json::parse(R"([
    [{"name": "RandomResizedCrop", "size": 8}, {"name": "ColorJitter", "brightness": 0.4},
     {"name": "Normalize", "mean": 0.5, "std": 0.2}],
    [{"name": "RandomResizedCrop", "size": [6, 7], "interpolation": "bicubic"},
     {"name": "RandomHorizontalFlip"}]])"));
}

std::vector<Pipeline> plain() { return {Pipeline()}; }

std::vector<std::int64_t> indices(const Batch& batch) {
  const auto* data = batch.indices.data<std::int64_t>();
  return {data, data + batch.indices.numel()};
}

/// Everything a batch holds, to compare bit for bit.
std::vector<double> content(const Batch& batch) {
  std::vector<double> all{static_cast<double>(batch.epoch), static_cast<double>(batch.step)};
  for (const Tensor& view : batch.views) {
    all.insert(all.end(), view.data<float>(), view.data<float>() + view.numel());
  }
  for (const Tensor& numbers : {batch.labels, batch.indices}) {
    const auto* data = numbers.data<std::int64_t>();
    all.insert(all.end(), data, data + numbers.numel());
  }
  return all;
}

/// Fails on one sample, and can be slow.
class Treacherous : public Dataset {
 public:
  Treacherous(std::int64_t bad, std::chrono::microseconds delay) : bad_(bad), delay_(delay) {}
  std::int64_t size() const override { return data_->size(); }
  void read(std::int64_t i, Sample& into) const override {
    std::this_thread::sleep_for(delay_);
    check(i != bad_, "read", "sample {} cannot be read", i);
    data_->read(i, into);
  }
  const std::vector<std::string>& classes() const override { return data_->classes(); }
  ImageShape shape() const override { return data_->shape(); }

 private:
  DatasetPtr data_ = numbered(200);
  std::int64_t bad_;
  std::chrono::microseconds delay_;
};

}  // namespace

TEST_CASE("Batches have the promised shapes, dtypes and content", "[unit][smoke]") {
  Loader loader(numbered(100), two_views(), {.batch_size = 40, .seed = 3, .workers = 2});
  CHECK(loader.steps_per_epoch() == 2);
  const Batch batch = loader.next();
  REQUIRE(batch.views.size() == 2);
  CHECK(batch.views[0].shape() == Dims{40, 8, 8, 3});
  CHECK(batch.views[1].shape() == Dims{40, 6, 7, 3});
  CHECK(batch.views[0].dtype() == DType::f32);
  CHECK(batch.labels.dtype() == DType::i64);
  CHECK(batch.indices.shape() == Dims{40});
  for (std::int64_t i = 0; i < 40; ++i) {
    CHECK(batch.labels.data<std::int64_t>()[i] == batch.indices.data<std::int64_t>()[i] % 7);
  }
  const DatasetPtr data = numbered(5);
  Loader raw(data, plain(), {.batch_size = 5, .shuffle = false, .workers = 0});
  const Batch all = raw.next();
  for (std::int64_t i = 0; i < 5; ++i) {
    const Image image = data->get(i).image;
    for (std::size_t k = 0; k < 360; ++k) {
      REQUIRE(all.views[0].data<float>()[static_cast<std::size_t>(i) * 360 + k] ==
              static_cast<float>(image.pixels[k]) * (1.0f / 255.0f));
    }
  }
}

TEST_CASE("Any number of workers and any prefetch give the same batches", "[unit]") {
  std::vector<std::vector<double>> expected;
  for (const auto& [workers, prefetch] : {std::pair{0, 1}, {1, 1}, {1, 5}, {3, 2}, {4, 9}}) {
    Loader loader(numbered(150), two_views(),
                  {.batch_size = 70, .seed = 5, .workers = workers, .prefetch = prefetch});
    for (std::size_t i = 0; i < 7; ++i) {
      const std::vector<double> got = content(loader.next());
      if (workers == 0) expected.push_back(got);
      CAPTURE(workers, prefetch, i);
      REQUIRE(got == expected[i]);
    }
  }
}

TEST_CASE("An epoch holds every sample once, each epoch and seed in another order", "[unit]") {
  const auto epoch_of = [](Loader& loader) {
    std::vector<std::int64_t> order;
    for (std::int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
      const Batch batch = loader.next();
      CHECK(batch.step == step);
      for (std::int64_t i : indices(batch)) order.push_back(i);
    }
    return order;
  };
  LoaderOptions options{.batch_size = 32, .drop_last = false, .seed = 1, .workers = 1};
  Loader loader(numbered(100), plain(), options);
  CHECK(loader.steps_per_epoch() == 4);
  std::set<std::vector<std::int64_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> order = epoch_of(loader);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(100);
    std::iota(all.begin(), all.end(), 0);
    CHECK(order == all);
  }
  options.seed = 2;
  Loader other(numbered(100), plain(), options);
  orders.insert(epoch_of(other));
  CHECK(orders.size() == 4);

  options.shuffle = false;
  Loader ordered(numbered(100), plain(), options);
  const std::vector<std::int64_t> order = epoch_of(ordered);
  CHECK(std::is_sorted(order.begin(), order.end()));
  CHECK(order.size() == 100);
}

TEST_CASE("drop_last leaves out what does not fill a batch, otherwise the last is smaller",
          "[unit]") {
  Loader dropping(numbered(10), plain(), {.batch_size = 4, .workers = 0});
  CHECK(dropping.steps_per_epoch() == 2);
  Loader keeping(numbered(10), plain(), {.batch_size = 4, .drop_last = false, .workers = 0});
  CHECK(keeping.steps_per_epoch() == 3);
  keeping.start(0, 2);
  const Batch last = keeping.next();
  CHECK(last.indices.numel() == 2);
  CHECK(last.views[0].shape() == Dims{2, 12, 10, 3});
  CHECK(keeping.next().epoch == 1);
}

TEST_CASE("A loader started anywhere continues as if it had come there", "[unit]") {
  const LoaderOptions options{.batch_size = 30, .seed = 9, .workers = 2, .prefetch = 3};
  Loader through(numbered(100), two_views(), options);
  std::vector<std::vector<double>> batches;
  for (int i = 0; i < 9; ++i) batches.push_back(content(through.next()));
  Loader resumed(numbered(100), two_views(), options);
  for (std::int64_t i : {5, 0, 8, 3}) {
    resumed.start(i / 3, i % 3);
    CHECK(content(resumed.next()) == batches[static_cast<std::size_t>(i)]);
  }
  resumed.start(1, 3);  // the end of one epoch is the beginning of the next
  CHECK(content(resumed.next()) == batches[6]);
  CHECK_THROWS_AS(resumed.start(0, 4), Error);
  CHECK_THROWS_AS(resumed.start(-1, 0), Error);
}

TEST_CASE("A loader with a number of epochs ends after them", "[unit]") {
  for (int workers : {0, 2}) {
    Loader loader(numbered(10), plain(), {.batch_size = 5, .workers = workers, .epochs = 2});
    int count = 0;
    while (!loader.done()) {
      loader.next();
      ++count;
    }
    CHECK(count == 4);
    CHECK_THAT(error_of([&] { loader.next(); }), ContainsSubstring("after the last of 2 epochs"));
    loader.start(1, 1);
    CHECK(loader.next().step == 1);
    CHECK(loader.done());
  }
}

TEST_CASE("A data set that is too small, or does not suit the views, is refused", "[unit]") {
  CHECK_THAT(error_of([] { Loader(numbered(10), plain(), {.batch_size = 11}); }),
             ContainsSubstring("at least one batch of 11 images, the data set has 10") &&
                 ContainsSubstring("drop_last"));
  CHECK_THAT(error_of([] { Loader(numbered(0), plain(), {.drop_last = false}); }),
             ContainsSubstring("empty"));
  CHECK_THROWS_AS(Loader(numbered(10), {}, {.batch_size = 2}), Error);
  CHECK_THROWS_AS(Loader(nullptr, plain(), {.batch_size = 2}), Error);
  CHECK_THROWS_AS(Loader(numbered(10), plain(), {.batch_size = 0}), Error);
  CHECK_THROWS_AS(Loader(numbered(10), plain(), {.batch_size = 2, .workers = -2}), Error);
  CHECK_THROWS_AS(Loader(numbered(10), plain(), {.batch_size = 2, .prefetch = 0}), Error);
  const auto views = make_views(Json::parse(R"([[{"name": "CenterCrop", "size": 11}]])"));
  CHECK_THAT(error_of([&] { Loader(numbered(10), views, {.batch_size = 2}); }),
             ContainsSubstring("[CenterCrop]"));
  const std::vector<Pipeline> many(256, plain()[0]);
  CHECK_THAT(error_of([&] { Loader(numbered(10), many, {.batch_size = 2}); }),
             ContainsSubstring("at most 255 views, got 256"));
}

TEST_CASE("Images of as many pixels and another shape are refused", "[unit]") {
  class Turned : public Dataset {
   public:
    std::int64_t size() const override { return 4; }
    ImageShape shape() const override { return {8, 8, 1}; }
    const std::vector<std::string>& classes() const override { return none_; }
    void read(std::int64_t, Sample& sample) const override {
      sample.image = {{4, 16, 1}, std::vector<std::uint8_t>(64)};
    }

   private:
    std::vector<std::string> none_;
  };
  Loader loader(std::make_shared<Turned>(), plain(), {.batch_size = 2});
  CHECK_THAT(error_of([&] { loader.next(); }),
             ContainsSubstring("expected a view [8,8,1], got [4,16,1]"));
}

TEST_CASE("An exception on a worker comes out of next, again and again, until start", "[unit]") {
  using std::chrono::microseconds;
  for (int workers : {0, 1, 4}) {
    CAPTURE(workers);
    const auto data = std::make_shared<Treacherous>(95, microseconds(workers == 0 ? 0 : 20));
    Loader loader(data, plain(), {.batch_size = 64, .shuffle = false, .workers = workers});
    CHECK(loader.next().step == 0);
    for (int i = 0; i < 2; ++i) {
      CHECK_THAT(error_of([&] { loader.next(); }), ContainsSubstring("sample 95 cannot be read"));
    }
    loader.start(0, 2);
    CHECK(loader.next().step == 2);
  }
}

TEST_CASE("A loader may be dropped or restarted at any moment", "[unit]") {
  using std::chrono::microseconds;
  const auto slow = std::make_shared<Treacherous>(-1, microseconds(50));
  for (int i = 0; i < 30; ++i) {
    Loader loader(slow, plain(), {.batch_size = 20, .workers = 1 + i % 4, .prefetch = 1 + i % 3});
    std::this_thread::sleep_for(microseconds(100 * (i % 7)));
    for (int k = 0; k < i % 5; ++k) {
      if (k % 2 == 0) loader.start(k, 0);
      loader.next();
    }
  }
  SUCCEED("no deadlock");
}

TEST_CASE("Time spent waiting is counted", "[unit]") {
  const auto slow = std::make_shared<Treacherous>(-1, std::chrono::microseconds(500));
  Loader loader(slow, plain(), {.batch_size = 10, .workers = 0});
  CHECK(loader.seconds_waited() == 0.0);
  loader.next();
  CHECK(loader.seconds_waited() >= 0.005);
}
