#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <invar/data/pipeline.hpp>
#include <invar/ops/functors/image.hpp>
#include <invar/ops/view.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace invar {
namespace {

/// All of an image of this size.
image_steps::ResizedCrop whole(ImageShape in) {
  check(is_known(in), "Pipeline",
        "expected images of one size, or a pipeline that begins with RandomResizedCrop");
  return {in.height, in.width, Interpolation::bilinear, true};
}

}  // namespace

Pipeline::Pipeline(std::vector<TransformPtr> transforms) : transforms_(std::move(transforms)) {
  for (const TransformPtr& transform : transforms_) {
    check(transform != nullptr, "Pipeline", "expected transforms, got a null pointer");
    param_sizes_.push_back(transform->param_names().size());
    param_count_ += static_cast<int>(param_sizes_.back());
  }
}

ImageShape Pipeline::output_shape(ImageShape in) const {
  for (const TransformPtr& transform : transforms_) in = transform->output_shape(in);
  check(is_known(in), "Pipeline",
        "expected views of one size, but the images differ in size: begin the "
        "pipeline with "
        "RandomResizedCrop, or with Resize to [height, width]");
  return in;
}

std::vector<std::string> Pipeline::param_names() const {
  std::vector<std::string> names;
  for (const TransformPtr& transform : transforms_) {
    for (const std::string& name : transform->param_names()) {
      names.push_back(transform->name() + "." + name);
    }
  }
  return names;
}

void Pipeline::check_params(std::size_t count) const {
  check(count == static_cast<std::size_t>(param_count_), "Pipeline",
        "expected room for {} parameters, as param_count() says, got {}", param_count_, count);
}

void Pipeline::draw(const ViewKey& key, ImageShape in, std::span<float> params) const {
  check_params(params.size());
  check(key.epoch >= 0 && key.epoch < 1 << 24 && key.index >= 0 &&
            key.index < std::int64_t{1} << 32 && key.view >= 0 && key.view < 255,
        "Pipeline", "expected epoch < 2^24, index < 2^32 and view < 255, got {}, {} and {}",
        key.epoch, key.index, key.view);
  const std::uint64_t stream = (static_cast<std::uint64_t>(key.view) + 1) << 56 |
                               static_cast<std::uint64_t>(key.epoch) << 32 |
                               static_cast<std::uint64_t>(key.index);
  std::size_t begin = 0;
  for (std::size_t t = 0; t < transforms_.size(); ++t) {
    Philox random(key.seed, stream, static_cast<std::uint64_t>(t) << 32);
    transforms_[t]->draw(random, in, params.subspan(begin, param_sizes_[t]));
    in = transforms_[t]->output_shape(in);
    begin += param_sizes_[t];
  }
}

void Pipeline::apply(const Image& image, std::span<const float> params, Canvas& canvas,
                     std::span<float> out) const {
  check_params(params.size());
  canvas.reset(image);
  std::size_t begin = 0;
  for (std::size_t t = 0; t < transforms_.size(); ++t) {
    const ImageShape in = canvas.shape(), promised = transforms_[t]->output_shape(in);
    transforms_[t]->apply(canvas, params.subspan(begin, param_sizes_[t]));
    begin += param_sizes_[t];
    const ImageShape made = canvas.shape();
    if (made != promised) {
      fail(transforms_[t]->name(),
           "expected [{},{},{}] of an image [{},{},{}], as its output_shape says, got [{},{},{}]",
           promised.height, promised.width, promised.channels, in.height, in.width, in.channels,
           made.height, made.width, made.channels);
    }
  }
  check(canvas.shape().size() == out.size(), "Pipeline",
        "expected a view of {} numbers, got {} of an image [{},{},{}]: are all images of the shape "
        "that Dataset::shape() tells?",
        out.size(), canvas.shape().size(), image.shape.height, image.shape.width,
        image.shape.channels);
  canvas.copy_to(out.data());
}

std::optional<std::string> Pipeline::cpu_only(ImageShape in) const {
  for (const TransformPtr& transform : transforms_) {
    const ImageShape out = transform->output_shape(in);
    const auto step = transform->step(in);
    // Stored images of several sizes can be read by a crop that resizes, and by nothing else.
    const bool reads =
        is_known(in) || (step && std::holds_alternative<image_steps::ResizedCrop>(*step));
    if (!step || !reads) return transform->name();
    in = out;
  }
  return std::nullopt;
}

Tensor Pipeline::apply(const StoredImages& stored, ImageShape in, const Tensor& indices,
                       const Tensor& params) const {
  constexpr const char* kOp = "Pipeline";
  std::vector<std::pair<ImageStep, Tensor>> steps;  // with their parameters
  std::int64_t begin = 0;
  for (std::size_t t = 0; t < transforms_.size(); ++t) {
    const ImageShape out = transforms_[t]->output_shape(in);
    const auto step = transforms_[t]->step(in);
    check(step.has_value(), kOp, "expected transforms that a GPU can do, got {}",
          transforms_[t]->name());
    const auto size = static_cast<std::int64_t>(param_sizes_[t]);
    steps.emplace_back(*step, narrow(params, 1, begin, size));
    // The first step reads the stored images: a resize, or one that changes nothing.
    if (t == 0 && !std::holds_alternative<image_steps::ResizedCrop>(*step)) {
      steps.insert(steps.begin(), {whole(in), narrow(params, 1, 0, 0)});
    }
    begin += size;
    in = out;
  }
  if (steps.empty()) steps.emplace_back(whole(in), params);
  Tensor images = sample_images(stored, indices, std::get<image_steps::ResizedCrop>(steps[0].first),
                                steps[0].second);
  for (std::size_t i = 1; i < steps.size(); ++i) {
    images = image_step(images, steps[i].first, steps[i].second);
  }
  return images;
}

// ---- JSON ---------------------------------------------------------------------------------------

namespace {

Range range_from(const Json& value, const JsonReader& reader, const char* key) {
  const bool pair =
      value.is_array() && value.size() == 2 && value[0].is_number() && value[1].is_number();
  check(pair, reader.where(), "expected \"{}\" as [low, high], got {}", key, excerpt(value));
  return {value[0].get<double>(), value[1].get<double>()};
}

Range get_range(JsonReader& reader, const char* key, Range otherwise) {
  return range_from(reader.get(key, Json::array({otherwise.low, otherwise.high})), reader, key);
}

struct Size {
  int height;
  int width;  // 0: only one number was given
};

Size get_size(JsonReader& reader) {
  if (reader.require<Json>("size").is_number()) return {reader.require<int>("size"), 0};
  const auto pair = reader.require<std::vector<std::int64_t>>("size");
  const auto fits = [](std::int64_t side) { return side > 0 && std::in_range<int>(side); };
  check(pair.size() == 2 && fits(pair[0]) && fits(pair[1]), reader.where(),
        "expected \"size\" as a number or [height, width], got [{}]", fmt::join(pair, ", "));
  return {static_cast<int>(pair[0]), static_cast<int>(pair[1])};
}

Size get_square_size(JsonReader& reader) {
  const Size size = get_size(reader);
  return {size.height, size.width == 0 ? size.height : size.width};
}

Interpolation get_interpolation(JsonReader& reader) {
  const auto name = reader.get<std::string>("interpolation", "bilinear");
  if (name == "bilinear") return Interpolation::bilinear;
  check(name == "bicubic", reader.where(),
        "expected \"interpolation\" to be \"bilinear\" or \"bicubic\", got "
        "\"{}\"",
        name);
  return Interpolation::bicubic;
}

/// torchvision's number or [low, high].
std::optional<Range> get_jitter(JsonReader& reader, const char* key, bool is_hue) {
  const Json value = reader.get(key, Json(0.0));
  if (!value.is_number()) return range_from(value, reader, key);
  const double x = value.get<double>();
  check(x >= 0.0, reader.where(), "expected \"{}\" >= 0, got {}", key, x);
  if (x == 0.0) return std::nullopt;
  return is_hue ? Range{-x, x} : Range{std::max(0.0, 1.0 - x), 1.0 + x};
}

std::vector<float> get_floats(JsonReader& reader, const char* key, const Json& value) {
  if (value.is_number()) return get_floats(reader, key, Json::array({value}));
  const bool numbers = value.is_array() && std::all_of(value.begin(), value.end(),
                                                       [](const Json& x) { return x.is_number(); });
  check(numbers, reader.where(), "expected \"{}\" as a number or a list of numbers, got {}", key,
        excerpt(value));
  const auto floats = value.get<std::vector<float>>();
  for (const float x : floats) {
    check(std::isfinite(x), reader.where(), "expected finite numbers in \"{}\", got {}", key, x);
  }
  return floats;
}

TransformPtr make_random_resized_crop(JsonReader& reader) {
  const Size size = get_square_size(reader);
  RandomResizedCrop::Options options{.height = size.height, .width = size.width};
  options.scale = get_range(reader, "scale", options.scale);
  options.ratio = get_range(reader, "ratio", options.ratio);
  options.interpolation = get_interpolation(reader);
  return std::make_shared<RandomResizedCrop>(options);
}

TransformPtr make_color_jitter(JsonReader& reader) {
  ColorJitter::Options options;
  options.brightness = get_jitter(reader, "brightness", false);
  options.contrast = get_jitter(reader, "contrast", false);
  options.saturation = get_jitter(reader, "saturation", false);
  options.hue = get_jitter(reader, "hue", true);
  options.p = reader.get("p", options.p);
  return std::make_shared<ColorJitter>(options);
}

TransformPtr make_gaussian_blur(JsonReader& reader) {
  const Json sigma = reader.get("sigma", Json::array({0.1, 2.0}));
  const Range range = sigma.is_number() ? Range{sigma.get<double>(), sigma.get<double>()}
                                        : range_from(sigma, reader, "sigma");
  const int kernel_size = reader.get("kernel_size", 0);
  return std::make_shared<GaussianBlur>(range, kernel_size, reader.get("p", 1.0));
}

TransformPtr make_random_erasing(JsonReader& reader) {
  RandomErasing::Options options;
  options.p = reader.get("p", options.p);
  if (reader.has("side")) {
    check(!reader.has("scale") && !reader.has("ratio"), reader.where(),
          "expected \"side\", or \"scale\" and \"ratio\", got both");
    options.side = get_range(reader, "side", {});
  } else {
    options.scale = get_range(reader, "scale", options.scale);
    options.ratio = get_range(reader, "ratio", options.ratio);
  }
  const Json value = reader.get("value", Json(0.0));
  options.noise = value == "random";
  if (!options.noise) options.value = get_floats(reader, "value", value);
  return std::make_shared<RandomErasing>(options);
}

}  // namespace

const TransformTable& builtin_transforms() {
  static const TransformTable table{
      {"RandomResizedCrop", make_random_resized_crop},
      {"Resize",
       [](JsonReader& reader) {
         const Size size = get_size(reader);
         return std::make_shared<Resize>(size.height, size.width, get_interpolation(reader));
       }},
      {"CenterCrop",
       [](JsonReader& reader) {
         const Size size = get_square_size(reader);
         return std::make_shared<CenterCrop>(size.height, size.width);
       }},
      {"RandomHorizontalFlip",
       [](JsonReader& reader) {
         return std::make_shared<RandomHorizontalFlip>(reader.get("p", 0.5));
       }},
      {"ColorJitter", make_color_jitter},
      {"RandomGrayscale",
       [](JsonReader& reader) { return std::make_shared<RandomGrayscale>(reader.get("p", 0.1)); }},
      {"GaussianBlur", make_gaussian_blur},
      {"RandomSolarize",
       [](JsonReader& reader) {
         const double threshold = reader.get("threshold", 128.0);
         return std::make_shared<RandomSolarize>(threshold, reader.get("p", 0.5));
       }},
      {"RandomErasing", make_random_erasing},
      {"Normalize",
       [](JsonReader& reader) {
         auto mean = get_floats(reader, "mean", reader.require<Json>("mean"));
         auto std = get_floats(reader, "std", reader.require<Json>("std"));
         return std::make_shared<Normalize>(std::move(mean), std::move(std));
       }},
  };
  return table;
}

Pipeline make_pipeline(const Json& config, const TransformTable& extra) {
  check(config.is_array(), "make_pipeline", "expected a list of transforms [{{...}}, ...], got {}",
        excerpt(config));
  TransformTable table = builtin_transforms();
  for (const auto& [name, maker] : extra) {
    check(table.emplace(name, maker).second, "make_pipeline",
          "expected a name of its own for a transform, got that of the library's \"{}\"", name);
  }
  std::vector<TransformPtr> transforms;
  for (std::size_t t = 0; t < config.size(); ++t) {
    const auto name =
        JsonReader(config[t], fmt::format("transform {}", t)).require<std::string>("name");
    JsonReader reader(config[t], name);
    reader.get<std::string>("name", "");
    const auto maker = table.find(name);
    if (maker == table.end()) {
      std::vector<std::string> names;
      for (const auto& entry : table) names.push_back(entry.first);
      fail("make_pipeline", "unknown transform \"{}\": {}", name, suggestion(name, names));
    }
    transforms.push_back(maker->second(reader));
    reader.finish();
  }
  return Pipeline(std::move(transforms));
}

std::vector<Pipeline> make_views(const Json& config, const TransformTable& extra) {
  check(config.is_array() && !config.empty(), "make_views",
        "expected a list of pipelines [[{{...}}, ...], ...] or one pipeline "
        "[{{...}}, ...], got {}",
        excerpt(config));
  if (config[0].is_object()) return std::vector<Pipeline>(2, make_pipeline(config, extra));
  std::vector<Pipeline> views;
  for (const Json& pipeline : config) views.push_back(make_pipeline(pipeline, extra));
  return views;
}

}  // namespace invar
