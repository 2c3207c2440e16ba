// Views made on the GPU against those of the CPU: the same parameters, pixels that differ by
// rounding. Skipped without a GPU.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/data/loader.hpp>
#include <invar/ops/convert.hpp>
#include <nlohmann/json.hpp>

#include "gpu.hpp"

using namespace invar;
using namespace invar::test;

namespace {

constexpr double kLevel = 1.0 / 255;

/// Noise over a slope, so that neighbours are alike but no two pixels are.
Image picture(ImageShape shape, std::uint64_t seed) {
  Philox random(seed);
  Image image{shape, {}};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t slope = 160 * i / shape.size();
    image.pixels.push_back(static_cast<std::uint8_t>(slope + random.below(96)));
  }
  return image;
}

/// Images of one size, or of sizes around it.
DatasetPtr pictures(std::int64_t count, ImageShape shape, bool various) {
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) {
    ImageShape own = shape;
    if (various) {
      own.height += static_cast<int>(i % 5) * 3;
      own.width += static_cast<int>(i % 4) * 7;
    }
    samples.push_back({picture(own, static_cast<std::uint64_t>(i)), i % 3});
  }
  return std::make_shared<ImageListDataset>(samples, std::vector<std::string>{"a", "b", "c"});
}

double largest_difference(const Tensor& gpu, const Tensor& cpu) {
  REQUIRE(gpu.device() == kGpu);
  REQUIRE(gpu.shape() == cpu.shape());
  const Tensor back = to(gpu, kCpu);
  double most = 0;
  for (std::int64_t i = 0; i < cpu.numel(); ++i) {
    const double difference = std::abs(static_cast<double>(back.data<const float>()[i]) -
                                       static_cast<double>(cpu.data<const float>()[i]));
    if (!(difference <= most)) most = difference;  // NaN too
  }
  return most;
}

/// The most that a pixel differs, over two batches of the loader on either device.
double compare(const DatasetPtr& images, const Json& views) {
  LoaderOptions options{.batch_size = 48, .drop_last = false, .seed = 3, .workers = 1};
  Loader cpu(images, make_views(views), options);
  options.device = kGpu;
  Loader gpu(images, make_views(views), options);
  CHECK(gpu.views_on_gpu());
  double most = 0;
  for (int step = 0; step < 2; ++step) {
    const Batch expected = cpu.next(), got = gpu.next();
    REQUIRE(got.views.size() == expected.views.size());
    for (std::size_t v = 0; v < got.views.size(); ++v) {
      most = std::max(most, largest_difference(got.views[v], expected.views[v]));
    }
    const Tensor labels = to(got.labels, kCpu);
    for (std::int64_t i = 0; i < expected.labels.numel(); ++i) {
      REQUIRE(labels.data<const std::int64_t>()[i] ==
              expected.labels.data<const std::int64_t>()[i]);
      REQUIRE(got.indices.data<const std::int64_t>()[i] ==
              expected.indices.data<const std::int64_t>()[i]);
    }
  }
  return most;
}

/// x <- 1 - x, for the CPU only.
class Invert : public Transform {
 public:
  std::string name() const override { return "Invert"; }
  std::vector<std::string> param_names() const override { return {}; }
  void draw(Philox&, ImageShape, std::span<float>) const override {}
  void apply(Canvas& canvas, std::span<const float>) const override {
    for (float& x : canvas.pixels()) x = 1.0f - x;
  }
};

}  // namespace

TEST_CASE("Each transform makes the CPU's pixels", "[cuda]") {
  skip_without_gpu();
  // Bit for bit, but for those that take a mean.
  const std::vector<std::pair<const char*, double>> transforms{
      {R"({"name": "RandomResizedCrop", "size": [20, 24]})", 0},
      {R"({"name": "RandomResizedCrop", "size": [9, 11], "interpolation": "bicubic"})", 0},
      {R"({"name": "RandomResizedCrop", "size": 40, "scale": [0.01, 0.2],
           "interpolation": "bicubic"})",
       0},
      {R"({"name": "Resize", "size": [13, 50]})", 0},
      {R"({"name": "Resize", "size": 12, "interpolation": "bicubic"})", 0},
      {R"({"name": "CenterCrop", "size": [15, 10]})", 0},
      {R"({"name": "RandomHorizontalFlip"})", 0},
      {R"({"name": "ColorJitter", "brightness": 0.8, "p": 0.7})", 0},
      {R"({"name": "ColorJitter", "saturation": 0.8, "hue": 0.5})", 0},
      {R"({"name": "ColorJitter", "contrast": 0.8})", 1e-5},
      {R"({"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2,
           "hue": 0.1, "p": 0.8})",
       1e-5},
      {R"({"name": "RandomGrayscale", "p": 0.5})", 0},
      {R"({"name": "GaussianBlur", "p": 0.6})", 0},
      {R"({"name": "GaussianBlur", "kernel_size": 3, "sigma": 0.7})", 0},
      {R"({"name": "RandomSolarize", "p": 0.5})", 0},
      {R"({"name": "RandomErasing", "value": 0.5, "p": 0.9})", 0},
      {R"({"name": "RandomErasing", "value": "random", "side": [3, 8]})", 0},
      {R"({"name": "Normalize", "mean": 0.3, "std": 0.2})", 0}};
  for (const int channels : {1, 3}) {
    const DatasetPtr images = pictures(100, {25, 27, channels}, false);
    for (const auto& [json, tolerance] : transforms) {
      CAPTURE(json, channels);
      CHECK(compare(images, Json::array({Json::parse(json)})) <= tolerance);
    }
  }
}

TEST_CASE("A pipeline's views lie within one level of the CPU's", "[cuda]") {
  skip_without_gpu();
  const Json colour = Json::parse(R"([
    [{"name": "RandomResizedCrop", "size": 32, "scale": [0.2, 1], "interpolation": "bicubic"},
     {"name": "RandomHorizontalFlip"},
     {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
      "p": 0.8},
     {"name": "RandomGrayscale", "p": 0.2},
     {"name": "GaussianBlur", "p": 0.5},
     {"name": "RandomErasing", "value": [0.1, 0.2, 0.3]}],
    [{"name": "Resize", "size": [40, 36]}, {"name": "CenterCrop", "size": 33},
     {"name": "RandomResizedCrop", "size": 24},
     {"name": "ColorJitter", "contrast": 0.4}, {"name": "ColorJitter", "contrast": 0.4}]])");
  for (const bool various : {false, true}) {
    CHECK(compare(pictures(100, {40, 50, 3}, various), colour) < kLevel);
  }
  const Json grey = Json::parse(R"([
    {"name": "RandomResizedCrop", "size": 28, "scale": [0.3, 1]},
    {"name": "RandomHorizontalFlip"},
    {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "p": 0.8},
    {"name": "RandomErasing", "side": [6, 12]},
    {"name": "Normalize", "mean": 0.286, "std": 0.353}])");
  CHECK(compare(pictures(100, {28, 28, 1}, false), grey) < kLevel / 0.353);
  CHECK(compare(pictures(100, {28, 28, 1}, false), Json::parse("[[], []]")) == 0);
}

TEST_CASE("Images of another shape than their data set's are refused", "[cuda]") {
  skip_without_gpu();
  class Other : public Dataset {
   public:
    explicit Other(ImageShape promised) : promised_(promised) {}
    std::int64_t size() const override { return 4; }
    ImageShape shape() const override { return promised_; }
    const std::vector<std::string>& classes() const override { return none_; }
    void read(std::int64_t i, Sample& sample) const override {
      sample.image = picture({4, 16, 1}, static_cast<std::uint64_t>(i));
    }

   private:
    ImageShape promised_;
    std::vector<std::string> none_;
  };
  const std::vector<Pipeline> views =
      make_views(Json::parse(R"([{"name": "RandomResizedCrop", "size": 4}])"));
  for (const ImageShape promised : {ImageShape{8, 8, 1}, {4, 16, 3}, {0, 0, 3}}) {
    CHECK_THROWS_WITH(
        Loader(std::make_shared<Other>(promised), views, {.batch_size = 2, .device = kGpu}),
        Catch::Matchers::ContainsSubstring("as Dataset::shape() says, got [4,16,1]"));
  }
}

TEST_CASE("What only the CPU can make is made there and copied", "[cuda]") {
  skip_without_gpu();
  const DatasetPtr images = pictures(64, {9, 8, 3}, false);
  const std::vector<Pipeline> views{Pipeline({std::make_shared<Invert>()}), Pipeline()};
  LoaderOptions options{.batch_size = 32, .seed = 3, .workers = 0};
  Loader cpu(images, views, options);
  options.device = kGpu;
  Loader gpu(images, views, options);
  CHECK_FALSE(gpu.views_on_gpu());
  CHECK(gpu.cpu_only() == "Invert");
  // Images of several sizes have to be resized at once.
  const auto late = make_views(Json::parse(
      R"([{"name": "RandomHorizontalFlip"}, {"name": "RandomResizedCrop", "size": 16}])"));
  Loader various(pictures(64, {40, 50, 3}, true), late, options);
  CHECK(various.cpu_only() == "RandomHorizontalFlip");
  CHECK(various.next().views[0].device() == kGpu);
  CHECK_FALSE(Loader(pictures(64, {40, 50, 3}, false), late, options).cpu_only().has_value());
  options.views_on_gpu = false;
  Loader plain(images, {Pipeline()}, options);
  CHECK_FALSE(plain.views_on_gpu());
  CHECK_FALSE(plain.cpu_only().has_value());
  const Batch expected = cpu.next(), got = gpu.next();
  for (std::size_t v = 0; v < 2; ++v) {
    CHECK(largest_difference(got.views[v], expected.views[v]) == 0);
  }
  CHECK(largest_difference(plain.next().views[0], expected.views[1]) == 0);
  CHECK(got.labels.device() == kGpu);
  // Sizes that differ need a first step that makes them equal.
  const Pipeline shorter_side = make_pipeline(
      Json::parse(R"([{"name": "Resize", "size": 12}, {"name": "CenterCrop", "size": 12}])"));
  CHECK(shorter_side.cpu_only({0, 0, 3}) == "Resize");
  CHECK_FALSE(shorter_side.cpu_only({20, 30, 3}).has_value());
}
