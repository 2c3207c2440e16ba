#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/data/pipeline.hpp>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "support.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

namespace {

Image noise(ImageShape shape, std::uint64_t seed = 1) {
  Philox random(seed);
  Image image{shape, {}};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    image.pixels.push_back(static_cast<std::uint8_t>(random.next_u32() >> 24));
  }
  return image;
}

std::vector<float> result(Canvas& canvas) {
  std::vector<float> out(canvas.shape().size());
  canvas.copy_to(out.data());
  return out;
}

Interpolation interpolation_of(const Json& params) {
  return params.at("interpolation") == "bicubic" ? Interpolation::bicubic : Interpolation::bilinear;
}

void crop_as(Canvas& canvas, const Json& params) {
  const Json& box = params.at("box");
  resized_crop(canvas, {box[0], box[1], box[2], box[3]}, params.at("size")[0], params.at("size")[1],
               interpolation_of(params));
}

void apply_golden(Canvas& canvas, const std::string& op, const Json& params) {
  const auto factor = [&] { return params.at("factor").get<float>(); };
  if (op == "resized_crop") {
    crop_as(canvas, params);
  } else if (op == "hflip") {
    hflip(canvas);
  } else if (op == "brightness") {
    adjust_brightness(canvas, factor());
  } else if (op == "contrast") {
    adjust_contrast(canvas, factor());
  } else if (op == "saturation") {
    adjust_saturation(canvas, factor());
  } else if (op == "hue") {
    adjust_hue(canvas, factor());
  } else if (op == "grayscale") {
    to_grayscale(canvas);
  } else if (op == "solarize") {
    std::vector<float> on{1.0f};
    RandomSolarize(params.at("threshold").get<double>(), 1.0).apply(canvas, on);
  } else if (op == "gaussian_blur") {
    gaussian_blur(canvas, params.at("kernel_size"), params.at("sigma"));
  } else if (op == "chain") {
    crop_as(canvas, params);
    for (const Json& step : params.at("steps")) {
      apply_golden(canvas, step[0], {{"factor", step[1]}});
    }
  } else {
    FAIL("unknown golden op " << op);
  }
}

Pipeline cifar_pipeline() {
  return make_pipeline(Json::parse(R"([
    {"name": "RandomResizedCrop", "size": 32, "scale": [0.2, 1], "interpolation": "bicubic"},
    {"name": "RandomHorizontalFlip"},
    {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "p": 0.8},
    {"name": "RandomGrayscale", "p": 0.2},
    {"name": "GaussianBlur", "p": 0.5},
    {"name": "RandomSolarize", "p": 0.1},
    {"name": "RandomErasing", "value": "random"},
    {"name": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}])"));
}

std::vector<float> draw(const Transform& transform, ImageShape in, std::uint64_t seed) {
  std::vector<float> params(transform.param_names().size(), -99.0f);
  Philox random(seed, 77);
  transform.draw(random, in, params);
  return params;
}

/// Half the sum of |p - q| over two histograms: 0 for equal distributions, 1 for disjoint ones.
double total_variation(const std::vector<double>& a, const std::vector<double>& b) {
  const double sum_a = std::accumulate(a.begin(), a.end(), 0.0);
  const double sum_b = std::accumulate(b.begin(), b.end(), 0.0);
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += std::abs(a[i] / sum_a - b[i] / sum_b);
  return total / 2;
}

/// Compares the distributions of four drawn numbers, from `first` on, with torchvision's.
void check_statistics(const Transform& transform, const Json& expected, std::size_t first) {
  const int height = expected.at("shape")[0], width = expected.at("shape")[1];
  constexpr const char* kNames[] = {"top", "left", "height", "width"};
  std::vector<std::vector<double>> counts;
  for (const char* name : kNames) counts.emplace_back(expected.at(name).size());
  constexpr int kDraws = 100'000;
  std::vector<float> params(transform.param_names().size());
  for (int i = 0; i < kDraws; ++i) {
    Philox random(5, static_cast<std::uint64_t>(i));
    transform.draw(random, {height, width, 1}, params);
    for (std::size_t k = 0; k < 4; ++k) ++counts[k].at(static_cast<std::size_t>(params[first + k]));
  }
  for (std::size_t k = 0; k < 4; ++k) {
    const auto reference = expected.at(kNames[k]).get<std::vector<double>>();
    CAPTURE(kNames[k]);
    // Sampling noise alone gives about 0.4 sqrt(bins (1/100,000 + 1/200,000)) = 0.01.
    CHECK(total_variation(counts[k], reference) < 0.02);
  }
}

}  // namespace

// ---- Pixels ------------------------------------------------------------------------------------

TEST_CASE("Pixels agree with torchvision's for the same parameters", "[golden]") {
  const Golden& golden = Golden::get();
  Canvas canvas;  // reused, as in a worker
  for (const Json& test : golden.json().at("cases")) {
    const Image source = golden.source(test.at("source"));
    const Image expected = golden.image(test.at("expected"));
    canvas.reset(source);
    apply_golden(canvas, test.at("op"), test.at("params"));
    CAPTURE(test.dump());
    REQUIRE(canvas.shape() == expected.shape);
    const std::vector<float> got = result(canvas);
    float worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      worst = std::max(worst, std::abs(std::round(got[i] * 255.0f) - expected.pixels[i]));
    }
    CHECK(worst <= test.at("levels").get<float>());
  }
}

TEST_CASE("Every operation gives the same on an image and on its float planes", "[unit]") {
  // A crop reads 8-bit pixels directly when it comes first, planes when it comes later.
  for (int channels : {1, 3}) {
    const Image image = noise({23, 31, channels});
    Canvas direct, planes;
    direct.reset(image);
    planes.reset(image);
    planes.pixels();
    CHECK(planes.source() == nullptr);
    resized_crop(direct, {3, 4, 15, 26}, 20, 21, Interpolation::bicubic);
    resized_crop(planes, {3, 4, 15, 26}, 20, 21, Interpolation::bicubic);
    CHECK(result(direct) == result(planes));
    CHECK(direct.shape() == ImageShape{20, 21, channels});
  }
}

TEST_CASE("Cropping the whole image to its own size changes nothing", "[unit][smoke]") {
  const Image image = noise({9, 14, 3});
  for (Interpolation mode : {Interpolation::bilinear, Interpolation::bicubic}) {
    Canvas canvas;
    canvas.reset(image);
    resized_crop(canvas, {0, 0, 9, 14}, 9, 14, mode);
    const std::vector<float> got = result(canvas);
    for (std::size_t i = 0; i < got.size(); ++i) {
      REQUIRE(got[i] * 255.0f == Approx(image.pixels[i]).margin(1e-3));
    }
  }
}

TEST_CASE("Constant images stay constant under every resize and blur", "[unit]") {
  const Image image{{13, 9, 3}, Bytes(13 * 9 * 3, 90)};
  Canvas canvas;
  for (Interpolation mode : {Interpolation::bilinear, Interpolation::bicubic}) {
    for (int size : {1, 2, 5, 13, 40}) {
      canvas.reset(image);
      resized_crop(canvas, {1, 1, 11, 7}, size, size + 1, mode);
      for (float x : result(canvas)) REQUIRE(x == Approx(90.0 / 255.0).epsilon(1e-6));
    }
  }
  canvas.reset(image);
  gaussian_blur(canvas, 17, 5.0f);
  for (float x : result(canvas)) REQUIRE(x == Approx(90.0 / 255.0).epsilon(1e-6));
}

TEST_CASE("Crop, erase and normalize touch the right pixels", "[unit]") {
  const Image image = noise({6, 5, 3});
  Canvas canvas;
  canvas.reset(image);
  crop(canvas, {2, 1, 3, 4});
  std::vector<float> got = result(canvas);
  for (std::size_t y = 0; y < 3; ++y) {
    for (std::size_t x = 0; x < 4; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        const std::size_t at = ((y + 2) * 5 + x + 1) * 3 + c;
        REQUIRE(got[(y * 4 + x) * 3 + c] == Approx(image.pixels[at] / 255.0));
      }
    }
  }
  canvas.reset(image);
  const std::vector<float> values{0.1f, 0.2f, 0.3f};
  erase(canvas, {1, 3, 4, 2}, values);
  got = result(canvas);
  for (std::size_t y = 0; y < 6; ++y) {
    for (std::size_t x = 0; x < 5; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        const std::size_t at = (y * 5 + x) * 3 + c;
        const bool inside = y >= 1 && y < 5 && x >= 3;
        const double expected = inside ? double{values[c]} : image.pixels[at] / 255.0;
        REQUIRE(got[at] == Approx(expected));
      }
    }
  }
  canvas.reset(image);
  normalize(canvas, values, std::vector<float>{2.0f, 0.5f, 1.0f});
  got = result(canvas);
  CHECK(got[0] == Approx((image.pixels[0] / 255.0 - 0.1) / 2.0));
  CHECK(got[1] == Approx((image.pixels[1] / 255.0 - 0.2) / 0.5));
  CHECK(got[2] == Approx((image.pixels[2] / 255.0 - 0.3) / 1.0));
}

TEST_CASE("Grey images pass through colour operations", "[unit]") {
  const Image image = noise({8, 8, 1});
  Canvas canvas, untouched;
  untouched.reset(image);
  canvas.reset(image);
  adjust_hue(canvas, 0.2f);
  adjust_saturation(canvas, 0.3f);
  to_grayscale(canvas);
  CHECK(result(canvas) == result(untouched));
}

// ---- Parameters --------------------------------------------------------------------------------

TEST_CASE("Crops and erased rectangles are distributed as torchvision's", "[golden]") {
  const auto range = [](const Json& pair) { return Range{pair[0], pair[1]}; };
  const Json& statistics = Golden::get().json().at("statistics");
  for (const Json& expected : statistics.at("crop")) {
    const RandomResizedCrop crop({.height = 32,
                                  .width = 32,
                                  .scale = range(expected.at("scale")),
                                  .ratio = range(expected.at("ratio"))});
    check_statistics(crop, expected, 0);
  }
  for (const Json& expected : statistics.at("erasing")) {
    RandomErasing::Options options;
    options.p = 1.0;
    options.scale = range(expected.at("scale"));
    options.ratio = range(expected.at("ratio"));
    check_statistics(RandomErasing(options), expected, 1);
  }
}

TEST_CASE("Crops always lie inside the image, the fallback too", "[unit]") {
  for (const ImageShape shape :
       {ImageShape{1, 1, 3}, {1, 100, 3}, {100, 1, 3}, {3, 2, 1}, {480, 640, 3}}) {
    const RandomResizedCrop crop({.height = 8, .width = 8});
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      const std::vector<float> p = draw(crop, shape, seed);
      REQUIRE((p[0] >= 0 && p[1] >= 0 && p[2] >= 1 && p[3] >= 1));
      REQUIRE((p[0] + p[2] <= static_cast<float>(shape.height) &&
               p[1] + p[3] <= static_cast<float>(shape.width)));
    }
  }
  // Too wide for any allowed aspect ratio: the centre, at the widest one.
  const RandomResizedCrop whole({.height = 8, .width = 8, .scale = {1.0, 1.0}});
  CHECK(draw(whole, {30, 300, 3}, 1) == std::vector<float>{0, 130, 30, 40});
  CHECK(draw(whole, {300, 30, 3}, 1) == std::vector<float>{130, 0, 40, 30});
}

TEST_CASE("Jitter factors, orders and probabilities are uniform", "[unit]") {
  const ColorJitter jitter(0.4, 0.3, 0.2, 0.1, 0.8);
  constexpr int kDraws = 20'000;
  const double low[] = {0.6, 0.7, 0.8, -0.1}, high[] = {1.4, 1.3, 1.2, 0.1};
  double on = 0, sums[4] = {}, squares[4] = {};
  std::map<std::vector<float>, int> orders;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    const std::vector<float> p = draw(jitter, {32, 32, 3}, seed);
    on += p[0];
    ++orders[{p.begin() + 1, p.begin() + 5}];
    for (std::size_t k = 0; k < 4; ++k) {
      const double unit = (p[5 + k] - low[k]) / (high[k] - low[k]);
      REQUIRE((unit > -1e-6 && unit < 1 + 1e-6));
      sums[k] += unit;
      squares[k] += unit * unit;
    }
  }
  CHECK(on / kDraws == Approx(0.8).margin(0.012));
  CHECK(orders.size() == 24);
  for (const auto& [order, count] : orders) {
    CHECK(std::set<float>(order.begin(), order.end()).size() == 4);
    CHECK(count == Approx(kDraws / 24.0).margin(130));  // 4.6 standard deviations
  }
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(sums[k] / kDraws == Approx(0.5).margin(0.01));
    CHECK(squares[k] / kDraws == Approx(1.0 / 3.0).margin(0.01));
  }
}

TEST_CASE("What a configuration says is what is drawn", "[unit]") {
  struct Drawn {
    const char* json;
    std::size_t param;
    double low, high;  // uniform in; equal: how often it is 1
  };
  const Drawn cases[] = {
      {R"({"name": "RandomHorizontalFlip"})", 0, 0.5, 0.5},
      {R"({"name": "RandomHorizontalFlip", "p": 0.2})", 0, 0.2, 0.2},
      {R"({"name": "RandomGrayscale"})", 0, 0.1, 0.1},
      {R"({"name": "RandomSolarize"})", 0, 0.5, 0.5},
      {R"({"name": "RandomSolarize", "p": 0.1})", 0, 0.1, 0.1},
      {R"({"name": "RandomErasing"})", 0, 0.5, 0.5},
      {R"({"name": "GaussianBlur"})", 0, 1, 1},
      {R"({"name": "GaussianBlur"})", 1, 0.1, 2},
      {R"({"name": "GaussianBlur", "sigma": [0.5, 1], "p": 0.3})", 0, 0.3, 0.3},
      {R"({"name": "GaussianBlur", "sigma": [0.5, 1], "p": 0.3})", 1, 0.5, 1},
      {R"({"name": "ColorJitter", "hue": 0.1})", 0, 1, 1},
      {R"({"name": "ColorJitter", "brightness": 0.4, "p": 0.8})", 0, 0.8, 0.8},
      {R"({"name": "ColorJitter", "brightness": 0.4})", 5, 0.6, 1.4},
      {R"({"name": "ColorJitter", "contrast": 1.5})", 6, 0, 2.5},
      {R"({"name": "ColorJitter", "saturation": [0.5, 0.7]})", 7, 0.5, 0.7},
      {R"({"name": "ColorJitter", "hue": 0.1})", 8, -0.1, 0.1},
  };
  constexpr std::uint64_t kDraws = 4000;
  for (const Drawn& c : cases) {
    CAPTURE(c.json, c.param);
    const Pipeline pipeline = make_pipeline(Json::array({Json::parse(c.json)}));
    const TransformPtr& transform = pipeline.transforms().at(0);
    double sum = 0, least = 1e9, most = -1e9;
    for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
      const double x = draw(*transform, {32, 32, 3}, seed).at(c.param);
      sum += x;
      least = std::min(least, x);
      most = std::max(most, x);
    }
    const double width = c.high - c.low;
    // Five standard deviations of a mean; that the ends are missed by 1 % has a chance of e^-40.
    const double deviation = width > 0 ? width / std::sqrt(12.0) : std::sqrt(c.low * (1 - c.low));
    CHECK(sum / kDraws == Approx((c.low + c.high) / 2).margin(5 * deviation / std::sqrt(kDraws)));
    if (width > 0) {
      CHECK((c.low - 1e-6 < least && least < c.low + 0.01 * width));
      CHECK((c.high - 0.01 * width < most && most < c.high + 1e-6));
    }
  }
  const auto only = [](const char* json) {
    return make_pipeline(Json::array({Json::parse(json)}));
  };
  // A kernel of 2 ceil(3 sigma) + 1 = 13 pixels.
  const Pipeline blur = only(R"({"name": "GaussianBlur"})");
  CHECK(blur.output_shape({7, 7, 1}) == ImageShape{7, 7, 1});
  CHECK_THAT(error_of([&] { blur.output_shape({6, 7, 1}); }), ContainsSubstring("kernel_size 13"));
  const Image greys{{1, 2, 1}, {127, 128}};
  Canvas canvas;
  canvas.reset(greys);
  only(R"({"name": "RandomSolarize"})").transforms()[0]->apply(canvas, std::vector<float>{1});
  const std::vector<float> solarized = result(canvas);
  CHECK(solarized[0] == Approx(127 / 255.0));
  CHECK(solarized[1] == Approx((255 - 128) / 255.0));
}

TEST_CASE("Erasing by side draws every side and place, never outside", "[unit]") {
  RandomErasing::Options options;
  options.side = Range{6, 12};
  const RandomErasing erasing(options);
  std::set<float> sides, tops;
  double on = 0;
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    const std::vector<float> p = draw(erasing, {28, 28, 1}, seed);
    on += p[0];
    sides.insert(p[3]);
    sides.insert(p[4]);
    tops.insert(p[1]);
    REQUIRE((p[1] + p[3] <= 28 && p[2] + p[4] <= 28));
  }
  CHECK(on / 5000 == Approx(0.5).margin(0.03));
  CHECK(sides == std::set<float>{6, 7, 8, 9, 10, 11, 12});
  CHECK(tops.size() == 23);
  CHECK_THROWS_AS(erasing.output_shape({11, 28, 1}), Error);
}

TEST_CASE("Noise erases with standard normals that its parameter decides", "[unit]") {
  RandomErasing::Options options;
  options.noise = true;
  const RandomErasing erasing(options);
  const Image image{{64, 64, 3}, Bytes(64 * 64 * 3, 128)};
  const auto run = [&](float noise_seed) {
    Canvas canvas;
    canvas.reset(image);
    erasing.apply(canvas, std::vector<float>{1, 2, 2, 60, 60, noise_seed});
    return result(canvas);
  };
  const std::vector<float> a = run(1), b = run(2);
  CHECK(a == run(1));
  CHECK(a != b);
  double sum = 0, squares = 0;
  for (float x : a) {
    sum += x;
    squares += x * x;
  }
  CHECK(sum / static_cast<double>(a.size()) == Approx(0.0).margin(0.1));
  CHECK(squares / static_cast<double>(a.size()) == Approx(0.91).margin(0.05));
}

// ---- Pipelines ---------------------------------------------------------------------------------

TEST_CASE("A view depends on seed, epoch, index and view, and on nothing else", "[unit]") {
  const Pipeline pipeline = cifar_pipeline();
  CHECK(pipeline.output_shape({40, 50, 3}) == ImageShape{32, 32, 3});
  const Image image = noise({40, 50, 3}), other = noise({300, 200, 3});
  const auto view = [&](const ViewKey& key, Canvas& canvas) {
    std::vector<float> params(static_cast<std::size_t>(pipeline.param_count())), out(32 * 32 * 3);
    pipeline.draw(key, image.shape, params);
    pipeline.apply(image, params, canvas, out);
    return out;
  };
  Canvas fresh, used;
  used.reset(other);
  used.pixels();
  std::set<std::vector<float>> views;
  const std::vector<ViewKey> keys{
      {0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
  for (const ViewKey& key : keys) {
    const std::vector<float> out = view(key, fresh);
    CHECK(out == view(key, used));
    views.insert(out);
  }
  CHECK(views.size() == keys.size());
  std::vector<float> params(static_cast<std::size_t>(pipeline.param_count()));
  CHECK_THROWS_AS(pipeline.draw({0, 1 << 24, 0, 0}, image.shape, params), Error);
  CHECK_THROWS_AS(pipeline.draw({0, 0, std::int64_t{1} << 32, 0}, image.shape, params), Error);
}

TEST_CASE("A transform's parameters do not depend on the others'", "[unit]") {
  const Json flip{{"name", "RandomHorizontalFlip"}};
  const Json erase{{"name", "RandomErasing"}, {"p", 1.0}};
  const Json always{{"name", "GaussianBlur"}, {"kernel_size", 3}};
  const Pipeline a = make_pipeline({flip, erase}), b = make_pipeline({always, erase});
  CHECK(a.param_names().front() == "RandomHorizontalFlip.applied");
  CHECK(b.param_names().at(1) == "GaussianBlur.sigma");
  std::vector<float> pa(7), pb(8);
  for (std::int64_t i = 0; i < 20; ++i) {
    a.draw({3, 1, i, 0}, {28, 28, 1}, pa);
    b.draw({3, 1, i, 0}, {28, 28, 1}, pb);
    CHECK(std::equal(pa.begin() + 1, pa.end(), pb.begin() + 2));
  }
}

namespace {

/// A user's own transform: x <- 1 - x.
class Invert : public Transform {
 public:
  std::string name() const override { return "Invert"; }
  std::vector<std::string> param_names() const override { return {"applied"}; }
  void draw(Philox& random, ImageShape, std::span<float> params) const override {
    params[0] = random.uniform() < 0.5f ? 1.0f : 0.0f;
  }
  void apply(Canvas& canvas, std::span<const float>) const override {
    for (float& x : canvas.pixels()) x = 1.0f - x;
  }
};

}  // namespace

TEST_CASE("A transform of one's own works by pointer and by name", "[unit]") {
  TransformTable table;
  table["Invert"] = [](JsonReader&) { return std::make_shared<Invert>(); };
  const Image image = noise({4, 5, 3});
  for (const Pipeline& pipeline :
       {Pipeline({std::make_shared<Invert>()}), make_pipeline({{{"name", "Invert"}}}, table)}) {
    Canvas canvas;
    std::vector<float> out(60);
    pipeline.apply(image, std::vector<float>{1.0f}, canvas, out);
    for (std::size_t i = 0; i < out.size(); ++i) {
      REQUIRE(out[i] == Approx(1.0 - image.pixels[i] / 255.0).margin(1e-6));
    }
  }
}

TEST_CASE("What a data set or a transform of one's own gets wrong is told", "[unit]") {
  /// Halves the image without a word.
  class Halve : public Invert {
    std::string name() const override { return "Halve"; }
    void apply(Canvas& canvas, std::span<const float>) const override {
      const ImageShape half{canvas.shape().height / 2, canvas.shape().width, 3};
      canvas.spare(half);
      canvas.adopt(half);
    }
  };
  const auto message = [](const Pipeline& pipeline, const Image& image) {
    return error_of([&] {
      Canvas canvas;
      std::vector<float> out(60);
      pipeline.apply(image, std::vector<float>{1.0f}, canvas, out);
    });
  };
  const Pipeline invert({std::make_shared<Invert>()});
  CHECK_THAT(message(Pipeline({std::make_shared<Halve>()}), noise({4, 5, 3})),
             ContainsSubstring("[Halve] expected [4,5,3]") && ContainsSubstring("got [2,5,3]"));
  CHECK_THAT(message(invert, noise({4, 6, 3})),
             ContainsSubstring("60 numbers, got 72") && ContainsSubstring("Dataset::shape()"));
  CHECK_THAT(message(invert, Image{{4, 5, 3}, std::vector<std::uint8_t>(59)}),
             ContainsSubstring("expected 60 bytes") && ContainsSubstring("got 59"));
  CHECK_THAT(message(invert, Image{{3, 5, 4}, std::vector<std::uint8_t>(60)}),
             ContainsSubstring("[H,W,3], got [3,5,4]"));
  // Parameters of one's own.
  const Pipeline crops({std::make_shared<RandomResizedCrop>(RandomResizedCrop::Options{4, 4})});
  const auto apply = [&](const std::vector<float>& params) {
    Canvas canvas;
    std::vector<float> out(48);
    crops.apply(noise({8, 9, 3}), params, canvas, out);
  };
  CHECK_NOTHROW(apply({0, 0, 8, 9}));
  CHECK_NOTHROW(apply({7, 8, 1, 1}));
  CHECK_THAT(error_of([&] {
               apply({0, 0, 8});
             }),
             ContainsSubstring("4 parameters") && ContainsSubstring("got 3"));
  for (const std::vector<float>& box : {std::vector<float>{0, 0, 9, 9},
                                        {1, 0, 8, 9},
                                        {0, -1, 2, 2},
                                        {8, 0, 1, 1},
                                        {0, 0, 0, 4},
                                        {2e9f, 0, 2e9f, 1}}) {
    CHECK_THAT(error_of([&] { apply(box); }), ContainsSubstring("inside the image of 8 x 9"));
  }
  std::vector<float> few(3);
  CHECK_THAT(error_of([&] { crops.draw({}, {8, 9, 3}, few); }), ContainsSubstring("got 3"));
  TransformTable table;
  table["Resize"] = [](JsonReader&) { return std::make_shared<Invert>(); };
  CHECK_THAT(error_of([&] { make_pipeline(Json::array(), table); }),
             ContainsSubstring("the library's \"Resize\""));
}

TEST_CASE("Resize and CenterCrop follow torchvision's sizes", "[unit]") {
  CHECK(Resize(20, 0).output_shape({40, 61, 3}) == ImageShape{20, 30, 3});
  CHECK(Resize(20, 0).output_shape({61, 40, 3}) == ImageShape{30, 20, 3});
  CHECK(Resize(20, 24).output_shape({0, 0, 3}) == ImageShape{20, 24, 3});
  CHECK_THROWS_AS(CenterCrop(10, 10).output_shape({9, 20, 3}), Error);
  const Image image = noise({9, 12, 1});
  Canvas canvas;
  canvas.reset(image);
  CenterCrop(4, 5).apply(canvas, {});
  // round((9 - 4) / 2) = round(2.5) = 2 and round((12 - 5) / 2) = round(3.5) = 4, half to even.
  CHECK(result(canvas)[0] == Approx(image.pixels[2 * 12 + 4] / 255.0));
  CHECK_THAT(error_of([] {
               make_pipeline({{{"name", "RandomHorizontalFlip"}}}).output_shape({0, 0, 3});
             }),
             ContainsSubstring("begin the pipeline with RandomResizedCrop"));
}

TEST_CASE("Wrong options are errors that help", "[unit]") {
  const auto message = [](const char* json) {
    return error_of([&] { make_pipeline(Json::parse(json)); });
  };
  CHECK_THAT(message(R"([{"name": "RandomResizeCrop"}])"),
             ContainsSubstring("did you mean \"RandomResizedCrop\""));
  CHECK_THAT(message(R"([{"name": "RandomSolarize", "prob": 0.1}])"),
             ContainsSubstring("[RandomSolarize] unknown key \"prob\": did you mean \"p\""));
  CHECK_THAT(message(R"([{"name": "RandomGrayscale", "p": 1.5}])"), ContainsSubstring("got 1.5"));
  CHECK_THAT(message(R"([{"name": "RandomGrayscale", "p": "0.5"}])"),
             ContainsSubstring("wrong type"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop"}])"), ContainsSubstring("\"size\""));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 0}])"), ContainsSubstring("0 x 0"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 8.5}])"), ContainsSubstring("8.5"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 4294967304}])"),
             ContainsSubstring("out of range"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": [8, 4294967304]}])"),
             ContainsSubstring("4294967304"));
  CHECK_THAT(message(R"([{"name": "Resize", "size": [36, 0]}])"),
             ContainsSubstring("[height, width], got [36, 0]"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": [8, 8, 8]}])"),
             ContainsSubstring("[height, width]"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 8, "scale": [0.5, 0.1]}])"),
             ContainsSubstring("got [0.5, 0.1]"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 8, "scale": [0.5, 1.1]}])"),
             ContainsSubstring("got [0.5, 1.1]"));
  CHECK_THAT(message(R"([{"name": "RandomResizedCrop", "size": 8, "interpolation": "lanczos"}])"),
             ContainsSubstring("lanczos"));
  CHECK_THAT(message(R"([{"name": "ColorJitter", "hue": 0.6}])"), ContainsSubstring("hue"));
  CHECK_THAT(message(R"([{"name": "ColorJitter", "contrast": -1}])"),
             ContainsSubstring("contrast"));
  CHECK_THAT(message(R"([{"name": "GaussianBlur", "kernel_size": 4}])"), ContainsSubstring("odd"));
  CHECK_THAT(message(R"([{"name": "GaussianBlur", "sigma": [0, 1]}])"), ContainsSubstring("sigma"));
  CHECK_THAT(message(R"([{"name": "GaussianBlur", "sigma": 1e-60}])"), ContainsSubstring("sigma"));
  CHECK_THAT(message(R"([{"name": "RandomErasing", "side": [6, 12], "scale": [0.1, 0.2]}])"),
             ContainsSubstring("got both"));
  CHECK_THAT(message(R"([{"name": "RandomErasing", "side": [1.5, 2]}])"),
             ContainsSubstring("whole pixels"));
  CHECK_THAT(message(R"([{"name": "Normalize", "mean": 0.5}])"), ContainsSubstring("\"std\""));
  CHECK_THAT(message(R"([{"name": "Normalize", "mean": 0.5, "std": [0.1, 0, 0.1]}])"),
             ContainsSubstring("std > 0"));
  CHECK_THAT(message(R"([{"name": "Normalize", "mean": 1e39, "std": 1}])"),
             ContainsSubstring("finite numbers in \"mean\""));
  CHECK_THAT(message(R"([{"name": "RandomErasing", "value": [0, 0, -1e39]}])"),
             ContainsSubstring("finite numbers in \"value\""));
  CHECK_THAT(message(R"({"name": "Normalize"})"), ContainsSubstring("list of transforms"));
  CHECK_THAT(message(R"([3])"), ContainsSubstring("JSON object"));
  CHECK_THAT(error_of([] { make_views(Json::parse("[]")); }), ContainsSubstring("one pipeline"));
  const Pipeline rgb =
      make_pipeline(Json::parse(R"([{"name": "Normalize", "mean": [0.5, 0.5, 0.5], "std": 0.1}])"));
  CHECK_THAT(error_of([&] {
               rgb.output_shape({8, 8, 1});
             }),
             ContainsSubstring("expected 1 number in mean"));
  CHECK(rgb.output_shape({8, 8, 3}) == ImageShape{8, 8, 3});
  CHECK_THROWS_AS(GaussianBlur({0.1, 2.0}, 23).output_shape({11, 30, 3}), Error);
}

TEST_CASE("Views come as one pipeline for both or one each", "[unit]") {
  const Json flip{{"name", "RandomHorizontalFlip"}};
  CHECK(make_views(Json::array({flip})).size() == 2);
  const auto views =
      make_views(Json::array({Json::array({flip}), Json::array({flip, flip}), Json::array()}));
  REQUIRE(views.size() == 3);
  CHECK(views[1].transforms().size() == 2);
  CHECK(views[2].param_count() == 0);
}
