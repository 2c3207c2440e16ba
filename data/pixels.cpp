#include <algorithm>
#include <cstdint>
#include <cstring>
#include <invar/data/pixels.hpp>
#include <invar/ops/functors/image.hpp>
#include <utility>

namespace invar {

using functors::clamp01;
using functors::grey_of;
using functors::Rgb;

namespace {

std::span<float> grown(std::vector<float>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
  return {buffer.data(), size};
}

std::size_t index(int i) { return static_cast<std::size_t>(i); }

// ---- Resizing -----------------------------------------------------------------------------------

/// For one axis: output i is the sum over k < count[i] of weight(i, k) * input[first[i] + k].
struct Taps {
  std::vector<int> first, count;
  std::vector<float> centre, sum;
  std::vector<float> weights;  // [taps][outputs]: computed for all outputs at once
  int outputs = 0;

  float weight(int output, int tap) const {
    return weights[index(tap) * index(outputs) + index(output)];
  }
};

void compute_taps(Taps& taps, int inputs, int outputs, Interpolation interpolation) {
  const functors::ResizeAxis axis(inputs, outputs, interpolation == Interpolation::bicubic);
  const int window = axis.window;
  const std::size_t n = index(outputs);
  taps.outputs = outputs;
  taps.first.resize(n);
  taps.count.resize(n);
  taps.centre.resize(n);
  taps.sum.assign(n, 0.0f);
  taps.weights.resize(n * index(window));

  int* const first = taps.first.data();
  float* const centre = taps.centre.data();
  float* const sum = taps.sum.data();
  for (int i = 0; i < outputs; ++i) {
    centre[i] = axis.centre(i);
    first[i] = axis.first(centre[i]);
  }
  for (int k = 0; k < window; ++k) {
    float* const weight = &taps.weights[index(k) * n];
    for (int i = 0; i < outputs; ++i) {
      weight[i] = axis.weight(first[i] + k, centre[i]);
      sum[i] += weight[i];
    }
  }
  for (int k = 0; k < window; ++k) {
    float* const weight = &taps.weights[index(k) * n];
    for (int i = 0; i < outputs; ++i) weight[i] /= sum[i];
  }
  // Drop the taps that fall off either end.
  for (int i = 0; i < outputs; ++i) {
    const int begin = std::max(first[i], 0);
    taps.count[index(i)] = std::min(first[i] + window, inputs) - begin;
  }
}

/// out = finish(sum over k < count of weight(k) times row(k)), rows of n floats.
template <class Row, class Weight, class Finish>
void combine_rows(float* __restrict out, int n, int count, Row row, Weight weight, Finish finish) {
  // Four rows at a time: bicubic enlargement has exactly four. Missing ones count 0 times.
  for (int done = 0; done < count; done += 4) {
    const auto w = [&](int k) { return k < count ? weight(k) : 0.0f; };
    const auto in = [&](int k) { return row(k < count ? k : done); };
    const float* __restrict a = in(done);
    const float* __restrict b = in(done + 1);
    const float* __restrict c = in(done + 2);
    const float* __restrict d = in(done + 3);
    const float wa = w(done), wb = w(done + 1), wc = w(done + 2), wd = w(done + 3);
    const auto sum = [&](int i) { return wa * a[i] + wb * b[i] + (wc * c[i] + wd * d[i]); };
    if (count <= 4) {  // one pass
      for (int i = 0; i < n; ++i) out[i] = finish(sum(i));
      return;
    }
    if (done == 0) {
      for (int i = 0; i < n; ++i) out[i] = sum(i);
    } else {
      for (int i = 0; i < n; ++i) out[i] += sum(i);
    }
  }
  for (int i = 0; i < n; ++i) out[i] = finish(out[i]);
}

/// Output `output` of `taps`, clamped; rows are `stride` apart.
void combine_taps(float* out, int n, const Taps& taps, int output, const float* rows,
                  std::ptrdiff_t stride) {
  const int begin = std::max(taps.first[index(output)], 0);
  const int dropped = begin - taps.first[index(output)];
  combine_rows(
      out, n, taps.count[index(output)], [&](int k) { return rows + (begin + k) * stride; },
      [&](int k) { return taps.weight(output, dropped + k); }, clamp01);
}

/// out[x][y] = in[y][x], four by four in vector registers (the compilers do not find this
/// themselves).
void transpose(int height, int width, const float* __restrict in, std::ptrdiff_t in_stride,
               float* __restrict out, std::ptrdiff_t out_stride) {
  using Vec4 = float __attribute__((vector_size(16)));
  const auto load = [](const float* from) {
    Vec4 v;
    std::memcpy(&v, from, sizeof v);
    return v;
  };
  const int whole_rows = height / 4 * 4, whole_columns = width / 4 * 4;
  for (int y = 0; y < whole_rows; y += 4) {
    for (int x = 0; x < whole_columns; x += 4) {
      const float* const from = in + y * in_stride + x;
      const Vec4 a = load(from), b = load(from + in_stride);
      const Vec4 c = load(from + 2 * in_stride), d = load(from + 3 * in_stride);
      const Vec4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
      const Vec4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Vec4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
      const Vec4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      const Vec4 columns[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                               __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                               __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                               __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
      for (int k = 0; k < 4; ++k) {
        std::memcpy(out + (x + k) * out_stride + y, &columns[k], sizeof columns[k]);
      }
    }
    for (int x = whole_columns; x < width; ++x) {
      for (int k = y; k < y + 4; ++k) out[x * out_stride + k] = in[k * in_stride + x];
    }
  }
  for (int y = whole_rows; y < height; ++y) {
    for (int x = 0; x < width; ++x) out[x * out_stride + y] = in[y * in_stride + x];
  }
}

/// Pixels 0..255, channels innermost, to 0..1 in planes that are `plane` floats apart.
void load_pixels(const std::uint8_t* __restrict in, int count, int channels, float* __restrict out,
                 std::ptrdiff_t plane) {
  using functors::kLevel;
  if (channels == 3) {
    for (int i = 0; i < count; ++i) {
      out[i] = static_cast<float>(in[3 * i]) * kLevel;
      out[i + plane] = static_cast<float>(in[3 * i + 1]) * kLevel;
      out[i + 2 * plane] = static_cast<float>(in[3 * i + 2]) * kLevel;
    }
  } else {
    for (int i = 0; i < count; ++i) out[i] = static_cast<float>(in[i]) * kLevel;
  }
}

}  // namespace

// ---- Canvas -------------------------------------------------------------------------------------

void Canvas::reset(const Image& image) {
  check_image("Canvas", image);
  source_ = &image;
  shape_ = image.shape;
}

std::span<float> Canvas::pixels() {
  if (source_) {
    const int count = shape_.height * shape_.width;
    load_pixels(source_->pixels.data(), count, shape_.channels,
                grown(pixels_, shape_.size()).data(), count);
    source_ = nullptr;
  }
  return {pixels_.data(), shape_.size()};
}

std::span<float> Canvas::plane(int channel) {
  const std::size_t size = index(shape_.height) * index(shape_.width);
  return pixels().subspan(index(channel) * size, size);
}

std::span<float> Canvas::spare(ImageShape shape) { return grown(spare_, shape.size()); }

void Canvas::adopt(ImageShape shape) {
  std::swap(pixels_, spare_);
  shape_ = shape;
  source_ = nullptr;
}

std::span<float> Canvas::scratch(int slot, std::size_t size) {
  return grown(scratch_[index(slot)], size);
}

void Canvas::copy_to(float* __restrict out) {
  const float* const from = pixels().data();
  const int n = shape_.height * shape_.width;
  if (shape_.channels == 3) {
    const float *const r = from, *const g = r + n, *const b = g + n;
    for (int i = 0; i < n; ++i) {
      out[3 * i] = r[i];
      out[3 * i + 1] = g[i];
      out[3 * i + 2] = b[i];
    }
  } else {
    std::copy(from, from + n, out);
  }
}

// ---- Geometry -----------------------------------------------------------------------------------

void check_box(const char* op, const Box& box, ImageShape image) {
  const auto fits = [](int begin, int size, int limit) {
    return begin >= 0 && begin < limit && size >= 1 && size <= limit - begin;
  };
  check(fits(box.top, box.height, image.height) && fits(box.left, box.width, image.width), op,
        "expected a box inside the image of {} x {} pixels, got {} x {} from row {} and column {}",
        image.height, image.width, box.height, box.width, box.top, box.left);
}

void resized_crop(Canvas& canvas, const Box& box, int height, int width,
                  Interpolation interpolation) {
  check_box("resized_crop", box, canvas.shape());
  thread_local Taps across, down;
  compute_taps(across, box.width, width, interpolation);
  compute_taps(down, box.height, height, interpolation);
  const auto [image_height, image_width, channels] = canvas.shape();
  const ImageShape shape{height, width, channels};
  const std::ptrdiff_t corner = std::ptrdiff_t{box.top} * image_width + box.left;
  const std::ptrdiff_t box_size = std::ptrdiff_t{box.height} * box.width;
  const std::ptrdiff_t column = std::ptrdiff_t{box.height} * channels;

  // The box as planes: where they are, or, from 8 bits, converted.
  const float* planes = nullptr;
  std::ptrdiff_t row_stride = image_width;
  std::ptrdiff_t plane_stride = std::ptrdiff_t{image_height} * image_width;
  if (const Image* image = canvas.source()) {
    float* const converted =
        canvas.scratch(1, static_cast<std::size_t>(channels * box_size)).data();
    for (int y = 0; y < box.height; ++y) {
      load_pixels(&image->pixels[static_cast<std::size_t>(
                      (corner + std::ptrdiff_t{y} * image_width) * channels)],
                  box.width, channels, converted + std::ptrdiff_t{y} * box.width, box_size);
    }
    planes = converted;
    row_stride = box.width;
    plane_stride = box_size;
  } else {
    planes = canvas.pixels().data() + corner;
  }

  // Across: with columns as rows, [W,C,H], the sums run over whole rows.
  float* const columns = canvas.scratch(0, static_cast<std::size_t>(column * box.width)).data();
  for (int c = 0; c < channels; ++c) {
    transpose(box.height, box.width, planes + c * plane_stride, row_stride,
              columns + std::ptrdiff_t{c} * box.height, column);
  }
  float* const narrowed = canvas.scratch(1, static_cast<std::size_t>(column * width)).data();
  for (int x = 0; x < width; ++x) {
    combine_taps(narrowed + x * column, static_cast<int>(column), across, x, columns, column);
  }

  // Down: one plane at a time, rows as rows again.
  float* const rows = canvas.scratch(0, index(box.height) * index(width)).data();
  float* out = canvas.spare(shape).data();
  for (int c = 0; c < channels; ++c) {
    transpose(width, box.height, narrowed + std::ptrdiff_t{c} * box.height, column, rows, width);
    for (int y = 0; y < height; ++y, out += width) combine_taps(out, width, down, y, rows, width);
  }
  canvas.adopt(shape);
}

void crop(Canvas& canvas, const Box& box) {
  check_box("crop", box, canvas.shape());
  const int width = canvas.shape().width;
  const ImageShape shape{box.height, box.width, canvas.shape().channels};
  float* out = canvas.spare(shape).data();
  for (int c = 0; c < shape.channels; ++c) {
    const float* from = canvas.plane(c).data() + std::ptrdiff_t{box.top} * width + box.left;
    for (int y = 0; y < box.height; ++y, from += width, out += box.width) {
      std::copy(from, from + box.width, out);
    }
  }
  canvas.adopt(shape);
}

void hflip(Canvas& canvas) {
  const ImageShape shape = canvas.shape();
  const float* __restrict from = canvas.pixels().data();
  float* __restrict out = canvas.spare(shape).data();
  const int width = shape.width;
  for (int row = 0; row < shape.channels * shape.height; ++row, from += width, out += width) {
    for (int x = 0; x < width; ++x) out[x] = from[width - 1 - x];
  }
  canvas.adopt(shape);
}

// ---- Colour -------------------------------------------------------------------------------------

namespace {

/// The three channels of an RGB canvas.
struct Planes {
  float* red;
  float* green;
  float* blue;
  int size;  // of each
};

Planes rgb(Canvas& canvas) {
  const int size = canvas.shape().height * canvas.shape().width;
  float* const red = canvas.pixels().data();
  return {red, red + size, red + 2 * std::ptrdiff_t{size}, size};
}

/// Sum of load(i), i < n: sixteen sums side by side, so that the result does not depend on what the
/// compiler makes of the loop.
template <class Load>
float sum(int n, Load load) {
  constexpr int kLanes = 16;
  float lanes[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += load(i + lane);
  }
  float total = 0.0f;
  for (float lane : lanes) total += lane;
  for (; i < n; ++i) total += load(i);
  return total;
}

}  // namespace

void adjust_brightness(Canvas& canvas, float factor) {
  for (float& x : canvas.pixels()) x = clamp01(factor * x);
}

void adjust_contrast(Canvas& canvas, float factor) {
  float total = 0.0f;
  int size = 0;
  if (canvas.shape().channels == 3) {
    const auto [r, g, b, n] = rgb(canvas);
    total = sum(n, [r = r, g = g, b = b](int i) { return grey_of({r[i], g[i], b[i]}); });
    size = n;
  } else {
    const std::span<const float> grey = canvas.pixels();
    size = static_cast<int>(grey.size());
    total = sum(size, [x = grey.data()](int i) { return x[i]; });
  }
  const float offset = (1.0f - factor) * (total / static_cast<float>(size));
  for (float& x : canvas.pixels()) x = functors::blended(x, factor, offset);
}

void adjust_saturation(Canvas& canvas, float factor) {
  if (canvas.shape().channels != 3) return;
  const auto [red, green, blue, n] = rgb(canvas);
  float* __restrict r = red, * __restrict g = green, * __restrict b = blue;
  for (int i = 0; i < n; ++i) {
    const Rgb p = functors::saturated({r[i], g[i], b[i]}, factor);
    r[i] = p.r;
    g[i] = p.g;
    b[i] = p.b;
  }
}

void adjust_hue(Canvas& canvas, float shift) {
  if (canvas.shape().channels != 3) return;
  const auto [red, green, blue, n] = rgb(canvas);
  float* __restrict r = red, * __restrict g = green, * __restrict b = blue;
  const float turn = functors::hue_turn(shift);
  for (int i = 0; i < n; ++i) {
    const Rgb p = functors::hue_turned({r[i], g[i], b[i]}, turn);
    r[i] = p.r;
    g[i] = p.g;
    b[i] = p.b;
  }
}

void to_grayscale(Canvas& canvas) {
  if (canvas.shape().channels != 3) return;
  const auto [red, green, blue, n] = rgb(canvas);
  float* __restrict r = red, * __restrict g = green, * __restrict b = blue;
  for (int i = 0; i < n; ++i) {
    r[i] = g[i] = b[i] = grey_of({r[i], g[i], b[i]});
  }
}

void solarize(Canvas& canvas, float threshold) {
  for (float& x : canvas.pixels()) x = functors::solarized(x, threshold);
}

// ---- Neighbourhoods and the rest ----------------------------------------------------------------

void gaussian_blur(Canvas& canvas, int kernel_size, float sigma) {
  const ImageShape shape = canvas.shape();
  const int half = kernel_size / 2, height = shape.height, width = shape.width;
  thread_local std::vector<float> kernel;
  kernel.resize(index(kernel_size));
  float total = 0.0f;
  for (int k = -half; k <= half; ++k) {
    total += kernel[index(k + half)] = functors::gaussian(k, sigma);
  }
  for (float& weight : kernel) weight /= total;

  const auto weight = [&](int k) { return kernel[index(k)]; };
  const auto same = [](float x) { return x; };
  float* const padded = canvas.scratch(0, index(width + 2 * half)).data();
  float* const row = padded + half;
  float* out = canvas.spare(shape).data();
  for (int c = 0; c < shape.channels; ++c) {
    const float* const in = canvas.plane(c).data();
    for (int y = 0; y < height; ++y, out += width) {
      const auto above = [&](int k) {
        return in + std::ptrdiff_t{functors::mirrored(y + k - half, height)} * width;
      };
      combine_rows(row, width, kernel_size, above, weight, same);
      for (int x = 1; x <= half; ++x) {
        row[-x] = row[x];
        row[width - 1 + x] = row[width - 1 - x];
      }
      combine_rows(
          out, width, kernel_size, [&](int k) { return padded + k; }, weight, same);
    }
  }
  canvas.adopt(shape);
}

void erase(Canvas& canvas, const Box& box, std::span<const float> value) {
  check_box("erase", box, canvas.shape());
  const int width = canvas.shape().width;
  for (int c = 0; c < canvas.shape().channels; ++c) {
    float* row = canvas.plane(c).data() + std::ptrdiff_t{box.top} * width + box.left;
    for (int y = 0; y < box.height; ++y, row += width) {
      std::fill_n(row, box.width, value[index(c)]);
    }
  }
}

void normalize(Canvas& canvas, std::span<const float> mean, std::span<const float> std) {
  for (int c = 0; c < canvas.shape().channels; ++c) {
    const float scale = 1.0f / std[index(c)];
    const float offset = mean[index(c)];
    for (float& x : canvas.plane(c)) x = functors::normalized(x, offset, scale);
  }
}

}  // namespace invar
