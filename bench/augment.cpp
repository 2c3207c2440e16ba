// How many augmented views one core makes per second, and what the loader delivers.
//
//   bench_augment [seconds per figure]
//
// The recipes are those of torchvision's comparison: two-view training of small images with random
// crops, flips, colour jitter, greyscale and solarisation. Times are those of the thread itself
// (CLOCK_THREAD_CPUTIME_ID), so that other programs on the machine disturb them little; the
// loader's are wall clock. Prints one JSON object of views/s; bench/torch_augment.py is
// torchvision's counterpart of the first.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <invar/data/loader.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "clock.hpp"

namespace {

using namespace invar;

double wall_seconds() {
  const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  return now.count();
}

Image noise(ImageShape shape, std::uint64_t stream) {
  Philox random(0, stream);
  Image image{shape, {}};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    image.pixels.push_back(static_cast<std::uint8_t>(random.next_u32() >> 24));
  }
  return image;
}

/// solo-learn's CIFAR views.
constexpr const char* kColour = R"([
  {"name": "RandomResizedCrop", "size": 32, "scale": [0.2, 1], "interpolation": "bicubic"},
  {"name": "RandomHorizontalFlip"},
  {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "p": 0.8},
  {"name": "RandomGrayscale", "p": 0.2},
  {"name": "RandomSolarize", "p": 0.1},
  {"name": "Normalize", "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.243, 0.261]}])";

/// VICReg's first view of large images.
constexpr const char* kLarge = R"([
  {"name": "RandomResizedCrop", "size": 224, "interpolation": "bicubic"},
  {"name": "RandomHorizontalFlip"},
  {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "p": 0.8},
  {"name": "RandomGrayscale", "p": 0.2},
  {"name": "GaussianBlur", "sigma": [0.1, 2], "kernel_size": 23},
  {"name": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}])";

/// Fashion-MNIST.
constexpr const char* kGrey = R"([
  {"name": "RandomResizedCrop", "size": 28, "scale": [0.3, 1]},
  {"name": "RandomHorizontalFlip"},
  {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "p": 0.8},
  {"name": "RandomErasing", "side": [6, 12]},
  {"name": "Normalize", "mean": 0.286, "std": 0.353}])";

Pipeline pipeline_from(const char* json) { return make_pipeline(Json::parse(json)); }

double views_per_second(const Pipeline& pipeline, ImageShape shape, double seconds) {
  const Image image = noise(shape, 1);
  Canvas canvas;
  std::vector<float> params(static_cast<std::size_t>(pipeline.param_count()));
  std::vector<float> view(pipeline.output_shape(shape).size());
  std::int64_t index = 0;
  const auto run = [&](std::int64_t count) {
    for (const std::int64_t end = index + count; index < end; ++index) {
      pipeline.draw({0, 0, index, 0}, shape, params);
      pipeline.apply(image, params, canvas, view);
    }
  };
  run(200);
  const double begin = thread_seconds();
  const std::int64_t first = index;
  while (thread_seconds() - begin < seconds) run(100);
  return static_cast<double>(index - first) / (thread_seconds() - begin);
}

double loader_views_per_second(int workers, double seconds) {
  const ImageShape shape{32, 32, 3};
  std::vector<std::uint8_t> pixels;
  for (std::uint64_t i = 0; i < 4096; ++i) {
    const Image image = noise(shape, i);
    pixels.insert(pixels.end(), image.pixels.begin(), image.pixels.end());
  }
  const auto data = std::make_shared<MemoryDataset>(
      shape, std::move(pixels), std::vector<std::int64_t>(4096, -1), std::vector<std::string>());
  Loader loader(data, {pipeline_from(kColour), pipeline_from(kColour)},
                {.batch_size = 256, .workers = workers});
  loader.next();
  const double begin = wall_seconds();
  std::int64_t views = 0;
  while (wall_seconds() - begin < seconds) {
    const Batch batch = loader.next();
    views += static_cast<std::int64_t>(batch.views.size()) * batch.indices.numel();
  }
  return static_cast<double>(views) / (wall_seconds() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  if (argc > 2 || !(seconds > 0)) {
    fmt::print(stderr, "usage: bench_augment [seconds per figure]\n");
    return 2;
  }
  nlohmann::ordered_json result = {
      {"colour 32x32, one core", views_per_second(pipeline_from(kColour), {32, 32, 3}, seconds)},
      {"colour 375x500 to 224x224, blur, one core",
       views_per_second(pipeline_from(kLarge), {375, 500, 3}, seconds)},
      {"grey 28x28, one core", views_per_second(pipeline_from(kGrey), {28, 28, 1}, seconds)}};
  for (int workers : {0, 1, 2}) {
    result[fmt::format("loader, colour 32x32, {} workers and the caller", workers)] =
        loader_views_per_second(workers, seconds);
  }
  fmt::print("{}\n", result.dump());
}
