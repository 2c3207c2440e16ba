#pragma once
// Augmenting images, for CPU and GPU alike: what happens to one pixel, and how much an input pixel
// counts in an output pixel. data/pixels.cpp's loops over the planes of an image use these
// functions; a GPU's kernels are the functors below them, of one pixel of a batch [B,H,W,C] each.
//
// A GPU computes what the CPU computes, operation for operation: the same bits but for the mean
// that the contrast is changed around, which it sums in f64.
#include <cmath>
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <invar/core/philox.hpp>
#include <invar/core/portable_math.hpp>

namespace invar::functors {

/// From 0..255 to 0..1.
constexpr float kLevel = 1.0f / 255.0f;

// Not std::clamp: this form compiles to one minimum and one maximum instruction per vector.
INVAR_HD inline float clamp01(float x) {
  x = x < 1.0f ? x : 1.0f;
  return x > 0.0f ? x : 0.0f;
}

// ---- Colour -------------------------------------------------------------------------------------

struct Rgb {
  float r, g, b;
};

/// Rec. 601 luma, as torchvision rounds it.
INVAR_HD inline float grey_of(Rgb p) { return 0.2989f * p.r + 0.587f * p.g + 0.114f * p.b; }

/// Between x and what `offset` is (1 - factor) times of.
INVAR_HD inline float blended(float x, float factor, float offset) {
  return clamp01(factor * x + offset);
}

INVAR_HD inline Rgb saturated(Rgb p, float factor) {
  const float grey = (1.0f - factor) * grey_of(p);
  return {blended(p.r, factor, grey), blended(p.g, factor, grey), blended(p.b, factor, grey)};
}

/// Of a shift of the hue (1 is the full circle), for hue_turned: never negative, so that its `mod`
/// is a floor.
INVAR_HD inline float hue_turn(float shift) { return 6.0f * shift + 6.0f; }

// Hue h in sixths of the circle, from the largest channel M and the chroma C = M - min:
//   h = (G - B)/C if M = R,   2 + (B - R)/C if M = G,   4 + (R - G)/C if M = B.
// Back with the same M and C:  channel = M - C clamp(min(k, 4 - k), 0, 1),  k = (n + h) mod 6, n =
// 5, 3, 1 for R, G, B.
INVAR_HD inline float channel_of_hue(float offset, float largest, float chroma) {
  const float k = offset - 6.0f * std::floor(offset * (1.0f / 6.0f));
  return largest - chroma * clamp01(k < 4.0f - k ? k : 4.0f - k);
}

INVAR_HD inline Rgb hue_turned(Rgb p, float turn) {
  const float x = p.r, y = p.g, z = p.b;
  const float xy_high = x > y ? x : y, xy_low = x > y ? y : x;
  const float largest = xy_high > z ? xy_high : z;
  const float chroma = largest - (xy_low < z ? xy_low : z);
  const float inverse = 1.0f / (chroma > 0.0f ? chroma : 1.0f);
  const float from_red = (y - z) * inverse;
  const float from_green = 2.0f + (z - x) * inverse;
  const float from_blue = 4.0f + (x - y) * inverse;
  const float h = (largest == x ? from_red : largest == y ? from_green : from_blue) + turn;
  return {channel_of_hue(5.0f + h, largest, chroma), channel_of_hue(3.0f + h, largest, chroma),
          channel_of_hue(1.0f + h, largest, chroma)};
}

INVAR_HD inline float solarized(float x, float threshold) {
  const float inverted = 1.0f - x;
  return x >= threshold ? inverted : x;
}

/// `scale` is 1 / std.
INVAR_HD inline float normalized(float x, float mean, float scale) { return (x - mean) * scale; }

// ---- Neighbourhoods -----------------------------------------------------------------------------

/// A kernel's value at distance x: linear, or Keys' cubic convolution with a = -1/2.
INVAR_HD inline float resize_kernel(bool cubic, float x) {
  x = std::fabs(x);
  if (!cubic) return x < 1.0f ? 1.0f - x : 0.0f;
  const float near = (1.5f * x - 2.5f) * x * x + 1.0f;
  const float far = ((-0.5f * x + 2.5f) * x - 4.0f) * x + 2.0f;
  return x < 1.0f ? near : x < 2.0f ? far : 0.0f;
}

/// How `inputs` pixels of an axis become `outputs`: output i is the mean of the inputs first(i)
/// ... first(i) + window - 1, those outside left out, weighted by weight(). Input pixel j covers
/// [j, j + 1); output i is centred at (i + 1/2) inputs / outputs.
struct ResizeAxis {
  int inputs;
  bool cubic;
  float scale, stretch, support, shrink;
  int window;

  INVAR_HD ResizeAxis(int inputs, int outputs, bool cubic)
      : inputs(inputs),
        cubic(cubic),
        scale(static_cast<float>(inputs) / static_cast<float>(outputs)),
        stretch(scale > 1.0f ? scale : 1.0f),
        support(stretch * (cubic ? 2.0f : 1.0f)),
        shrink(1.0f / stretch),
        window(static_cast<int>(std::ceil(2.0f * support))) {}

  INVAR_HD float centre(int i) const { return (static_cast<float>(i) + 0.5f) * scale; }
  INVAR_HD int first(float centre) const {
    return static_cast<int>(std::floor(centre - support + 0.5f));
  }
  INVAR_HD float weight(int j, float centre) const {
    const float distance = static_cast<float>(j) + 0.5f - centre;
    const float value = resize_kernel(cubic, distance * shrink);
    return j >= 0 && j < inputs ? value : 0.0f;
  }
};

/// Where a crop of `side` pixels in the middle of `size` begins: Python's round((size - side) / 2),
/// half to even, as torchvision's CenterCrop has it.
INVAR_HD inline int center_offset(int size, int side) {
  const int twice = size - side;
  return twice / 2 + (twice % 2) * (twice / 2 % 2);
}

/// The blur's kernel at distance k before it is divided by its sum.
INVAR_HD inline float gaussian(int k, float sigma) {
  const float z = static_cast<float>(k) / sigma;
  return portable_exp(-0.5f * z * z);
}

/// Where pixel i of an axis of n lies when the image is mirrored at its border pixels.
INVAR_HD inline int mirrored(int i, int n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

/// The sum of weight(k) value(k), k < count, in the order of the CPU's loops over whole rows: four
/// at a time, those that are lacking counting 0 times.
template <class Weight, class Value>
INVAR_HD float weighted_sum(int count, const Weight& weight, const Value& value) {
  float total = 0.0f;
  for (int done = 0; done < count; done += 4) {
    float terms[4];
    for (int k = 0; k < 4; ++k) {
      terms[k] = done + k < count ? weight(done + k) * value(done + k) : 0.0f;
    }
    const float sum = terms[0] + terms[1] + (terms[2] + terms[3]);
    total = done == 0 ? sum : total + sum;
  }
  return total;
}

// ---- Kernels of a GPU ---------------------------------------------------------------------------

/// Images [B,H,W,C] of floats.
struct ImageBatch {
  float* data;
  int height, width, channels;

  INVAR_HD float* pixel(std::int64_t b, int y, int x) const {
    return data + ((b * height + y) * width + x) * channels;
  }
  INVAR_HD float at(std::int64_t b, int y, int x, int c) const { return pixel(b, y, x)[c]; }
  INVAR_HD int height_of(std::int64_t) const { return height; }
  INVAR_HD int width_of(std::int64_t) const { return width; }
};

/// Some of the stored images (ops/image.hpp), 8 bits to 0..1.
struct StoredBatch {
  const std::uint8_t* bytes;
  const std::int64_t* offsets;
  const std::int32_t* sizes;
  const std::int64_t* indices;  ///< of the batch's images among the stored ones
  int channels;

  INVAR_HD int height_of(std::int64_t b) const { return sizes[2 * indices[b]]; }
  INVAR_HD int width_of(std::int64_t b) const { return sizes[2 * indices[b] + 1]; }
  INVAR_HD float at(std::int64_t b, int y, int x, int c) const {
    const std::int64_t pixel = static_cast<std::int64_t>(y) * width_of(b) + x;
    return static_cast<float>(bytes[offsets[indices[b]] + pixel * channels + c]) * kLevel;
  }
};

/// The parameters of a transform, one row per image.
struct ImageParams {
  const float* data;
  std::int64_t stride;
  INVAR_HD const float* of(std::int64_t b) const { return data + b * stride; }
};

/// A pixel of a batch: functors of thread i.
struct PixelPlace {
  std::int64_t b;
  int y, x;
  INVAR_HD PixelPlace(std::int64_t i, int height, int width)
      : b(i / width / height),
        y(static_cast<int>(i / width % height)),
        x(static_cast<int>(i % width)) {}
};

/// One pixel of the result. Parameters: top, left, height, width; `whole`: none.
template <class Source>
struct ResizeCrop {
  Source in;
  ImageParams params;
  bool whole, cubic;
  ImageBatch out;

  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, out.height, out.width);
    const float* const box = params.of(at.b);
    const int top = whole ? 0 : static_cast<int>(box[0]);
    const int left = whole ? 0 : static_cast<int>(box[1]);
    const int height = whole ? in.height_of(at.b) : static_cast<int>(box[2]);
    const int width = whole ? in.width_of(at.b) : static_cast<int>(box[3]);
    const Taps across(ResizeAxis(width, out.width, cubic), at.x);
    const Taps down(ResizeAxis(height, out.height, cubic), at.y);
    for (int c = 0; c < out.channels; ++c) {
      // Each pass is clamped: see data/pixels.hpp.
      const auto narrowed = [&](int y) {
        return clamp01(weighted_sum(
            across.count, [&](int k) { return across.weight(k); },
            [&](int k) { return in.at(at.b, top + y, left + across.begin + k, c); }));
      };
      out.pixel(at.b, at.y, at.x)[c] = clamp01(weighted_sum(
          down.count, [&](int k) { return down.weight(k); },
          [&](int k) { return narrowed(down.begin + k); }));
    }
  }

  /// The inputs of one output of an axis.
  struct Taps {
    ResizeAxis axis;
    float centre, sum = 0.0f;
    int begin, count;

    INVAR_HD Taps(const ResizeAxis& axis, int output) : axis(axis), centre(axis.centre(output)) {
      const int first = axis.first(centre);
      for (int k = 0; k < axis.window; ++k) sum += axis.weight(first + k, centre);
      begin = first > 0 ? first : 0;
      const int end = first + axis.window;
      count = (end < axis.inputs ? end : axis.inputs) - begin;
    }
    INVAR_HD float weight(int k) const { return axis.weight(begin + k, centre) / sum; }
  };
};

/// The pixels of the result are those of `in` from (top, left) on.
struct CropImages {
  ImageBatch in, out;
  int top, left;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, out.height, out.width);
    for (int c = 0; c < out.channels; ++c) {
      out.pixel(at.b, at.y, at.x)[c] = in.at(at.b, top + at.y, left + at.x, c);
    }
  }
};

/// Exchanges a pixel of the left half with its counterpart. Parameter: applied.
struct FlipImages {
  ImageBatch images;
  ImageParams params;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, images.height, images.width / 2);
    if (params.of(at.b)[0] == 0.0f) return;
    float* const a = images.pixel(at.b, at.y, at.x);
    float* const b = images.pixel(at.b, at.y, images.width - 1 - at.x);
    for (int c = 0; c < images.channels; ++c) {
      const float kept = a[c];
      a[c] = b[c];
      b[c] = kept;
    }
  }
};

/// ColorJitter of one image. Parameters: applied, order_0 .. order_3, and the factors of
/// brightness, contrast, saturation and hue. Part k takes place iff parts & (1 << k).
struct Jitter {
  const float* params;
  int parts;

  INVAR_HD bool applied() const { return params[0] != 0.0f; }
  INVAR_HD int part(int place) const {
    const int which = static_cast<int>(params[1 + place]);
    return (parts & (1 << which)) != 0 ? which : -1;
  }
  INVAR_HD float factor(int part) const { return params[5 + part]; }

  /// A pixel after the parts at places [begin, end). `mean`: that of grey before the contrast.
  INVAR_HD Rgb operator()(Rgb p, bool grey, int begin, int end, float mean) const {
    for (int place = begin; place < end; ++place) {
      const int which = part(place);
      const float f = which < 0 ? 0.0f : factor(which);
      if (which == 0) p = {clamp01(f * p.r), clamp01(f * p.g), clamp01(f * p.b)};
      if (which == 1) {
        const float offset = (1.0f - f) * mean;
        p = {blended(p.r, f, offset), blended(p.g, f, offset), blended(p.b, f, offset)};
      }
      if (which == 2 && !grey) p = saturated(p, f);
      if (which == 3 && !grey) p = hue_turned(p, hue_turn(f));
    }
    return p;
  }
  /// The place of the contrast, 4 if there is none.
  INVAR_HD int place_of_contrast() const {
    int place = 0;
    while (place < 4 && part(place) != 1) ++place;
    return place;
  }
};

/// A pixel as three channels; a grey one has three equal ones.
INVAR_HD inline Rgb load_rgb(const float* pixel, int channels) {
  return channels == 3 ? Rgb{pixel[0], pixel[1], pixel[2]} : Rgb{pixel[0], pixel[0], pixel[0]};
}
INVAR_HD inline void store_rgb(Rgb p, int channels, float* pixel) {
  pixel[0] = p.r;
  if (channels == 3) {
    pixel[1] = p.g;
    pixel[2] = p.b;
  }
}

/// The mean of grey that each image's contrast is changed around: a fold (functors/fold.hpp) of
/// pixels as they are when it comes to the contrast.
struct ContrastMean {
  ImageBatch images;
  ImageParams params;
  int parts;
  float* means;

  using State = double;
  INVAR_HD State identity() const { return 0; }
  INVAR_HD void add(State& sum, std::int64_t pixel, std::int64_t b, std::int64_t) const {
    const Jitter jitter{params.of(b), parts};
    const int place = jitter.place_of_contrast();
    if (!jitter.applied() || place == 4) return;
    const bool grey = images.channels == 1;
    const Rgb p = jitter(load_rgb(images.data + pixel * images.channels, images.channels), grey, 0,
                         place, 0.0f);
    sum += static_cast<double>(grey ? p.r : grey_of(p));
  }
  INVAR_HD void merge(State& sum, State other) const { sum += other; }
  INVAR_HD void store(std::int64_t b, State sum) const {
    means[b] = static_cast<float>(sum / (static_cast<double>(images.height) * images.width));
  }
};

struct JitterImages {
  ImageBatch images;
  ImageParams params;
  int parts;
  const float* means;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, images.height, images.width);
    const Jitter jitter{params.of(at.b), parts};
    if (!jitter.applied()) return;
    float* const pixel = images.pixel(at.b, at.y, at.x);
    const Rgb p = load_rgb(pixel, images.channels);
    store_rgb(jitter(p, images.channels == 1, 0, 4, means[at.b]), images.channels, pixel);
  }
};

/// Of images with three channels. Parameter: applied.
struct GrayImages {
  ImageBatch images;
  ImageParams params;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, images.height, images.width);
    if (params.of(at.b)[0] == 0.0f) return;
    float* const pixel = images.pixel(at.b, at.y, at.x);
    const float grey = grey_of(load_rgb(pixel, 3));
    store_rgb({grey, grey, grey}, 3, pixel);
  }
};

/// The weights of each image's blur. Parameters: applied, sigma.
struct BlurWeights {
  ImageParams params;
  int kernel_size;
  float* weights;
  INVAR_HD void operator()(std::int64_t b) const {
    float* const own = weights + b * kernel_size;
    const int half = kernel_size / 2;
    const float sigma = params.of(b)[1];
    float total = 0.0f;
    for (int k = 0; k < kernel_size; ++k) total += own[k] = gaussian(k - half, sigma);
    for (int k = 0; k < kernel_size; ++k) own[k] /= total;
  }
};

/// One of the two passes: along columns (`down`), or along rows.
struct BlurImages {
  ImageBatch in;
  ImageParams params;
  int kernel_size;
  const float* weights;
  bool down;
  ImageBatch out;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, out.height, out.width);
    if (params.of(at.b)[0] == 0.0f) return;
    const float* const own = weights + at.b * kernel_size;
    const int half = kernel_size / 2;
    for (int c = 0; c < out.channels; ++c) {
      out.pixel(at.b, at.y, at.x)[c] = weighted_sum(
          kernel_size, [&](int k) { return own[k]; },
          [&](int k) {
            return down ? in.at(at.b, mirrored(at.y + k - half, in.height), at.x, c)
                        : in.at(at.b, at.y, mirrored(at.x + k - half, in.width), c);
          });
    }
  }
};

/// Parameter: applied.
struct SolarizeImages {
  ImageBatch images;
  ImageParams params;
  float threshold;
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, images.height, images.width);
    if (params.of(at.b)[0] == 0.0f) return;
    float* const pixel = images.pixel(at.b, at.y, at.x);
    for (int c = 0; c < images.channels; ++c) pixel[c] = solarized(pixel[c], threshold);
  }
};

/// The k-th of the numbers that Philox(seed) makes one after another by normal().
INVAR_HD inline float sequential_normal(std::uint64_t seed, std::uint64_t k) {
  const PhiloxBlock block = random_block(seed, k / 2);
  const int even = static_cast<int>(k % 2 * 2);
  return normals_from_bits(block.word[even], block.word[even + 1]).first;
}

/// Parameters: applied, top, left, height, width, noise (the seed of `noise`).
struct EraseImages {
  ImageBatch images;
  ImageParams params;
  bool noise;
  float value[3];
  INVAR_HD void operator()(std::int64_t i) const {
    const PixelPlace at(i, images.height, images.width);
    const float* const p = params.of(at.b);
    const int y = at.y - static_cast<int>(p[1]), x = at.x - static_cast<int>(p[2]);
    const int height = static_cast<int>(p[3]), width = static_cast<int>(p[4]);
    if (p[0] == 0.0f || y < 0 || y >= height || x < 0 || x >= width) return;
    float* const pixel = images.pixel(at.b, at.y, at.x);
    for (int c = 0; c < images.channels; ++c) {
      const std::int64_t k = (static_cast<std::int64_t>(c) * height + y) * width + x;
      pixel[c] =
          noise ? sequential_normal(static_cast<std::uint64_t>(p[5]), static_cast<std::uint64_t>(k))
                : value[c];
    }
  }
};

struct NormalizeImages {
  ImageBatch images;
  float mean[3], scale[3];
  INVAR_HD void operator()(std::int64_t i) const {
    float* const pixel = images.data + i * images.channels;
    for (int c = 0; c < images.channels; ++c) pixel[c] = normalized(pixel[c], mean[c], scale[c]);
  }
};

}  // namespace invar::functors
