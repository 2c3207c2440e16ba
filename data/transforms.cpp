
#include <algorithm>
#include <cmath>
#include <invar/data/transforms.hpp>
#include <invar/ops/functors/image.hpp>
#include <utility>

namespace invar {
namespace {

// ---- Checks and draws that several transforms share ---------------------------------------------

void check_probability(double p, const char* op) {
  check(p >= 0.0 && p <= 1.0, op, "expected a probability p in [0, 1], got {}", p);
}

void check_range(Range range, double low, double high, const char* op, const char* what) {
  check(low <= range.low && range.low <= range.high && range.high <= high, op,
        "expected {} = [low, high] with {} <= low <= high <= {}, got [{}, {}]", what, low, high,
        range.low, range.high);
}

void check_positive_range(Range range, const char* op, const char* what) {
  check(range.low > 0.0 && range.low <= range.high && std::isfinite(range.high), op,
        "expected {} = [low, high] with 0 < low <= high, got [{}, {}]", what, range.low,
        range.high);
}

void check_size(int height, int width, const char* op) {
  constexpr int kMax = 1 << 16;
  check(height > 0 && width > 0 && height <= kMax && width <= kMax, op,
        "expected a size in [1, {}], got {} x {}", kMax, height, width);
}

float draw_applied(Philox& random, double p) { return random.uniform() < p ? 1.0f : 0.0f; }

bool applied(std::span<const float> params) { return params[0] != 0.0f; }

double draw_uniform(Philox& random, Range range) {
  return range.low + (range.high - range.low) * static_cast<double>(random.uniform());
}

double draw_log_uniform(Philox& random, Range range) {
  return std::exp(draw_uniform(random, {std::log(range.low), std::log(range.high)}));
}

/// A multiple of one in [0, limit].
float draw_offset(Philox& random, int limit) {
  return static_cast<float>(random.below(static_cast<std::uint32_t>(limit) + 1));
}

// Python's rounding: half to even.
int round_half_even(double x) { return static_cast<int>(std::nearbyint(x)); }

Box box_from(std::span<const float> params) {
  return {static_cast<int>(params[0]), static_cast<int>(params[1]), static_cast<int>(params[2]),
          static_cast<int>(params[3])};
}

Box center_box(ImageShape in, int height, int width) {
  return {(in.height - height) / 2, (in.width - width) / 2, height, width};
}

/// One number for every channel becomes one per channel.
std::array<float, 3> per_channel(const std::vector<float>& values) {
  if (values.size() == 1) return {values[0], values[0], values[0]};
  return {values[0], values[1], values[2]};
}

void check_per_channel(std::size_t values, ImageShape in, const char* op, const char* what) {
  if (values == 1 || values == static_cast<std::size_t>(in.channels)) return;
  fail(op, "expected {} in {} for images of {} channels, got {}",
       in.channels == 1 ? "1 number" : fmt::format("1 or {} numbers", in.channels), what,
       in.channels, values);
}

}  // namespace

// ---- RandomResizedCrop --------------------------------------------------------------------------

RandomResizedCrop::RandomResizedCrop(const Options& options) : options_(options) {
  check_size(options.height, options.width, "RandomResizedCrop");
  check_positive_range(options.scale, "RandomResizedCrop", "scale");
  check_range(options.scale, 0.0, 1.0, "RandomResizedCrop", "scale");
  check_positive_range(options.ratio, "RandomResizedCrop", "ratio");
}

ImageShape RandomResizedCrop::output_shape(ImageShape in) const {
  return {options_.height, options_.width, in.channels};
}

void RandomResizedCrop::draw(Philox& random, ImageShape in, std::span<float> params) const {
  const double area = static_cast<double>(in.height) * in.width;
  Box box;
  const auto fits = [&] {
    return box.width > 0 && box.width <= in.width && box.height > 0 && box.height <= in.height;
  };
  for (int attempt = 0; attempt < 10 && !fits(); ++attempt) {
    const double target = area * draw_uniform(random, options_.scale);
    const double aspect = draw_log_uniform(random, options_.ratio);
    box.width = round_half_even(std::sqrt(target * aspect));
    box.height = round_half_even(std::sqrt(target / aspect));
  }
  if (fits()) {
    params[0] = draw_offset(random, in.height - box.height);
    params[1] = draw_offset(random, in.width - box.width);
  } else {
    box = {0, 0, in.height, in.width};
    const double aspect = static_cast<double>(in.width) / in.height;
    if (aspect < options_.ratio.low) {
      box.height = std::clamp(round_half_even(in.width / options_.ratio.low), 1, in.height);
    } else if (aspect > options_.ratio.high) {
      box.width = std::clamp(round_half_even(in.height * options_.ratio.high), 1, in.width);
    }
    const Box center = center_box(in, box.height, box.width);
    params[0] = static_cast<float>(center.top);
    params[1] = static_cast<float>(center.left);
  }
  params[2] = static_cast<float>(box.height);
  params[3] = static_cast<float>(box.width);
}

void RandomResizedCrop::apply(Canvas& canvas, std::span<const float> params) const {
  resized_crop(canvas, box_from(params), options_.height, options_.width, options_.interpolation);
}

std::optional<ImageStep> RandomResizedCrop::step(ImageShape) const {
  return image_steps::ResizedCrop{options_.height, options_.width, options_.interpolation, false};
}

// ---- Resize, CenterCrop -------------------------------------------------------------------------

Resize::Resize(int height, int width, Interpolation interpolation)
    : height_(height), width_(width), interpolation_(interpolation) {
  check_size(height, width == 0 ? height : width, "Resize");
}

ImageShape Resize::output_shape(ImageShape in) const {
  if (width_ != 0) return {height_, width_, in.channels};
  if (!is_known(in)) return in;
  // torchvision truncates the longer side.
  const std::int64_t shorter = std::min(in.height, in.width),
                     longer = std::max(in.height, in.width);
  const std::int64_t scaled = height_ * longer / shorter;
  check(scaled <= 1 << 16, "Resize",
        "expected an image whose longer side stays below 65537, got {} x {}", in.height, in.width);
  const int side = static_cast<int>(scaled);
  return in.height <= in.width ? ImageShape{height_, side, in.channels}
                               : ImageShape{side, height_, in.channels};
}

void Resize::apply(Canvas& canvas, std::span<const float>) const {
  const ImageShape in = canvas.shape();
  const ImageShape out = output_shape(in);
  if (out == in) return;
  resized_crop(canvas, {0, 0, in.height, in.width}, out.height, out.width, interpolation_);
}

std::optional<ImageStep> Resize::step(ImageShape in) const {
  const ImageShape out = output_shape(in);
  if (!is_known(out)) return std::nullopt;
  return image_steps::ResizedCrop{out.height, out.width, interpolation_, true};
}

CenterCrop::CenterCrop(int height, int width) : height_(height), width_(width) {
  check_size(height, width, "CenterCrop");
}

ImageShape CenterCrop::output_shape(ImageShape in) const {
  check(!is_known(in) || (height_ <= in.height && width_ <= in.width), "CenterCrop",
        "expected images of at least {} x {} pixels, got {} x {}", height_, width_, in.height,
        in.width);
  return {height_, width_, in.channels};
}

void CenterCrop::apply(Canvas& canvas, std::span<const float>) const {
  const ImageShape in = canvas.shape();
  output_shape(in);
  crop(canvas, {functors::center_offset(in.height, height_),
                functors::center_offset(in.width, width_), height_, width_});
}

std::optional<ImageStep> CenterCrop::step(ImageShape) const {
  return image_steps::CenterCrop{height_, width_};
}

// ---- RandomHorizontalFlip -----------------------------------------------------------------------

RandomHorizontalFlip::RandomHorizontalFlip(double p) : p_(p) {
  check_probability(p, "RandomHorizontalFlip");
}

void RandomHorizontalFlip::draw(Philox& random, ImageShape, std::span<float> params) const {
  params[0] = draw_applied(random, p_);
}

void RandomHorizontalFlip::apply(Canvas& canvas, std::span<const float> params) const {
  if (applied(params)) hflip(canvas);
}

std::optional<ImageStep> RandomHorizontalFlip::step(ImageShape) const {
  return image_steps::HorizontalFlip{};
}

// ---- ColorJitter --------------------------------------------------------------------------------

namespace {

ColorJitter::Options jitter_options(double brightness, double contrast, double saturation,
                                    double hue, double p) {
  const auto around_one = [](double x, const char* what) -> std::optional<Range> {
    check(x >= 0.0, "ColorJitter", "expected {} >= 0, got {}", what, x);
    if (x == 0.0) return std::nullopt;
    return Range{std::max(0.0, 1.0 - x), 1.0 + x};
  };
  check(hue >= 0.0 && hue <= 0.5, "ColorJitter", "expected hue in [0, 0.5], got {}", hue);
  return {around_one(brightness, "brightness"), around_one(contrast, "contrast"),
          around_one(saturation, "saturation"),
          hue == 0.0 ? std::nullopt : std::optional(Range{-hue, hue}), p};
}

}  // namespace

ColorJitter::ColorJitter(const Options& options)
    : ranges_{options.brightness, options.contrast, options.saturation, options.hue},
      p_(options.p) {
  constexpr const char* kNames[] = {"brightness", "contrast", "saturation", "hue"};
  check_probability(p_, "ColorJitter");
  for (std::size_t i = 0; i < 4; ++i) {
    if (!ranges_[i]) continue;
    const bool is_hue = i == 3;
    check_range(*ranges_[i], is_hue ? -0.5 : 0.0, is_hue ? 0.5 : 1e6, "ColorJitter", kNames[i]);
  }
}

ColorJitter::ColorJitter(double brightness, double contrast, double saturation, double hue,
                         double p)
    : ColorJitter(jitter_options(brightness, contrast, saturation, hue, p)) {}

std::vector<std::string> ColorJitter::param_names() const {
  return {"applied",    "order_0",  "order_1",    "order_2", "order_3",
          "brightness", "contrast", "saturation", "hue"};
}

void ColorJitter::draw(Philox& random, ImageShape, std::span<float> params) const {
  params[0] = draw_applied(random, p_);
  const std::span<float> order = params.subspan(1, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    // Inside-out shuffle: the new element goes to place j, what stood there to the end.
    const std::size_t j = random.below(static_cast<std::uint32_t>(i) + 1);
    order[i] = order[j];
    order[j] = static_cast<float>(i);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    const float neutral = i == 3 ? 0.0f : 1.0f;
    params[5 + i] = ranges_[i] ? static_cast<float>(draw_uniform(random, *ranges_[i])) : neutral;
  }
}

void ColorJitter::apply(Canvas& canvas, std::span<const float> params) const {
  if (!applied(params)) return;
  for (float step : params.subspan(1, 4)) {
    const auto part = static_cast<std::size_t>(step);
    if (!ranges_[part]) continue;
    const float factor = params[5 + part];
    switch (part) {
      case 0:
        adjust_brightness(canvas, factor);
        break;
      case 1:
        adjust_contrast(canvas, factor);
        break;
      case 2:
        adjust_saturation(canvas, factor);
        break;
      default:
        adjust_hue(canvas, factor);
        break;
    }
  }
}

std::optional<ImageStep> ColorJitter::step(ImageShape) const {
  image_steps::ColorJitter step;
  for (std::size_t i = 0; i < 4; ++i) step.parts[i] = ranges_[i].has_value();
  return step;
}

// ---- RandomGrayscale ----------------------------------------------------------------------------

RandomGrayscale::RandomGrayscale(double p) : p_(p) { check_probability(p, "RandomGrayscale"); }

void RandomGrayscale::draw(Philox& random, ImageShape, std::span<float> params) const {
  params[0] = draw_applied(random, p_);
}

void RandomGrayscale::apply(Canvas& canvas, std::span<const float> params) const {
  if (applied(params)) to_grayscale(canvas);
}

std::optional<ImageStep> RandomGrayscale::step(ImageShape) const {
  return image_steps::Grayscale{};
}

// ---- GaussianBlur -------------------------------------------------------------------------------

GaussianBlur::GaussianBlur(Range sigma, int kernel_size, double p) : sigma_(sigma), p_(p) {
  check_range(sigma, 1e-6, 1000.0, "GaussianBlur", "sigma");  // in float, too, above 0
  check_probability(p, "GaussianBlur");
  check(kernel_size == 0 || (kernel_size > 0 && kernel_size % 2 == 1 && kernel_size < 1 << 16),
        "GaussianBlur", "expected an odd kernel_size, or 0 to derive it from sigma, got {}",
        kernel_size);
  kernel_size_ =
      kernel_size != 0 ? kernel_size : 2 * static_cast<int>(std::ceil(3 * sigma.high)) + 1;
}

ImageShape GaussianBlur::output_shape(ImageShape in) const {
  check(!is_known(in) || kernel_size_ / 2 < std::min(in.height, in.width), "GaussianBlur",
        "expected kernel_size / 2 below the image's sides, got kernel_size {} "
        "and {} x {} pixels",
        kernel_size_, in.height, in.width);
  return in;
}

void GaussianBlur::draw(Philox& random, ImageShape, std::span<float> params) const {
  params[0] = draw_applied(random, p_);
  params[1] = static_cast<float>(draw_uniform(random, sigma_));
}

void GaussianBlur::apply(Canvas& canvas, std::span<const float> params) const {
  if (!applied(params)) return;
  output_shape(canvas.shape());
  gaussian_blur(canvas, kernel_size_, params[1]);
}

std::optional<ImageStep> GaussianBlur::step(ImageShape) const {
  return image_steps::GaussianBlur{kernel_size_};
}

// ---- RandomSolarize -----------------------------------------------------------------------------

RandomSolarize::RandomSolarize(double threshold, double p)
    : threshold_(static_cast<float>((threshold - 0.5) / 255.0)), p_(p) {
  check(threshold >= 0.0 && threshold <= 256.0, "RandomSolarize",
        "expected a threshold in [0, 256], got {}", threshold);
  check_probability(p, "RandomSolarize");
}

void RandomSolarize::draw(Philox& random, ImageShape, std::span<float> params) const {
  params[0] = draw_applied(random, p_);
}

void RandomSolarize::apply(Canvas& canvas, std::span<const float> params) const {
  if (applied(params)) solarize(canvas, threshold_);
}

std::optional<ImageStep> RandomSolarize::step(ImageShape) const {
  return image_steps::Solarize{threshold_};
}

// ---- RandomErasing ------------------------------------------------------------------------------

RandomErasing::RandomErasing(const Options& options) : options_(options) {
  constexpr const char* kOp = "RandomErasing";
  check_probability(options.p, kOp);
  check_range(options.scale, 0.0, 1.0, kOp, "scale");
  check_positive_range(options.ratio, kOp, "ratio");
  check(options.value.size() == 1 || options.value.size() == 3, kOp,
        "expected a value of 1 or 3 numbers, got {}", options.value.size());
  if (options.side) {
    check_range(*options.side, 1.0, 65536.0, kOp, "side");
    check(options.side->low == std::floor(options.side->low) &&
              options.side->high == std::floor(options.side->high),
          kOp, "expected side in whole pixels, got [{}, {}]", options.side->low,
          options.side->high);
  }
}

ImageShape RandomErasing::output_shape(ImageShape in) const {
  if (!options_.noise) check_per_channel(options_.value.size(), in, "RandomErasing", "value");
  check(!options_.side || !is_known(in) || options_.side->high <= std::min(in.height, in.width),
        "RandomErasing", "expected side within the image, got up to {} and {} x {} pixels",
        options_.side ? options_.side->high : 0.0, in.height, in.width);
  return in;
}

void RandomErasing::draw(Philox& random, ImageShape in, std::span<float> params) const {
  params[0] = draw_applied(random, options_.p);
  int height = 0, width = 0;
  bool found = false;
  if (options_.side) {
    output_shape(in);
    const int low = static_cast<int>(options_.side->low);
    const int spread = static_cast<int>(options_.side->high) - low;
    height = low + static_cast<int>(draw_offset(random, spread));
    width = low + static_cast<int>(draw_offset(random, spread));
    found = true;
  } else {
    const double area = static_cast<double>(in.height) * in.width;
    for (int attempt = 0; attempt < 10 && !found; ++attempt) {
      const double target = area * draw_uniform(random, options_.scale);
      const double aspect = draw_log_uniform(random, options_.ratio);
      height = round_half_even(std::sqrt(target * aspect));
      width = round_half_even(std::sqrt(target / aspect));
      found = height < in.height && width < in.width;
    }
  }
  if (!found) params[0] = 0.0f;
  params[1] = found ? draw_offset(random, in.height - height) : 0.0f;
  params[2] = found ? draw_offset(random, in.width - width) : 0.0f;
  params[3] = found ? static_cast<float>(height) : 0.0f;
  params[4] = found ? static_cast<float>(width) : 0.0f;
  params[5] = static_cast<float>(random.next_u32() >> 8);  // 24 bits: exact in a float
}

void RandomErasing::apply(Canvas& canvas, std::span<const float> params) const {
  if (!applied(params)) return;
  const Box box = box_from(params.subspan(1));
  if (!options_.noise) {
    return erase(canvas, box, per_channel(options_.value));
  }
  check_box("RandomErasing", box, canvas.shape());
  Philox random(static_cast<std::uint64_t>(params[5]));
  const int image_width = canvas.shape().width;
  for (int c = 0; c < canvas.shape().channels; ++c) {
    float* row = canvas.plane(c).data() + std::ptrdiff_t{box.top} * image_width + box.left;
    for (int y = 0; y < box.height; ++y, row += image_width) {
      std::generate_n(row, box.width, [&] { return random.normal(); });
    }
  }
}

std::optional<ImageStep> RandomErasing::step(ImageShape) const {
  return image_steps::Erase{options_.noise, per_channel(options_.value)};
}

// ---- Normalize ----------------------------------------------------------------------------------

Normalize::Normalize(std::vector<float> mean, std::vector<float> std)
    : mean_(std::move(mean)), std_(std::move(std)) {
  for (float s : std_) check(s > 0.0f, "Normalize", "expected std > 0, got {}", s);
}

ImageShape Normalize::output_shape(ImageShape in) const {
  check_per_channel(mean_.size(), in, "Normalize", "mean");
  check_per_channel(std_.size(), in, "Normalize", "std");
  return in;
}

void Normalize::apply(Canvas& canvas, std::span<const float>) const {
  normalize(canvas, per_channel(mean_), per_channel(std_));
}

std::optional<ImageStep> Normalize::step(ImageShape) const {
  return image_steps::Normalize{per_channel(mean_), per_channel(std_)};
}

}  // namespace invar
