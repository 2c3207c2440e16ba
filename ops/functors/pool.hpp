#pragma once
// Pooling, for CPU and GPU alike: which elements a window covers, in one image dimension, and the
// functors of one element of the result (of dense images [N, H, W, C]), which are the GPU's
// kernels.
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <invar/core/integers.hpp>
#include <invar/ops/functors/stored.hpp>

namespace invar::functors {

/// Elements begin ... end - 1 of the image; `divisor` is what an average divides by.
struct PoolSpan {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t divisor;
};

/// The windows along one dimension. One of
///   sliding    `kernel` elements, `stride` apart, the first one beginning at -padding
///   adaptive   window i is [floor(i size / count), ceil((i + 1) size / count))
struct PoolWindows {
  std::int64_t size;   ///< of the image
  std::int64_t count;  ///< of windows
  std::int64_t kernel = 0, stride = 0, padding = 0;
  bool count_include_pad = false;  ///< the divisor counts padding too (but nothing beyond it)
  bool adaptive = false;

  INVAR_HD PoolSpan operator()(std::int64_t i) const {
    if (adaptive) {
      const std::int64_t begin = i * size / count, end = ((i + 1) * size + count - 1) / count;
      return {begin, end, end - begin};
    }
    const std::int64_t from = i * stride - padding, to = from + kernel;
    const std::int64_t begin = from < 0 ? 0 : from, end = to < size ? to : size;
    const std::int64_t padded_end = to < size + padding ? to : size + padding;
    return {begin, end, count_include_pad ? padded_end - from : end - begin};
  }

  /// The windows [begin, end) that cover element i.
  INVAR_HD PoolSpan covering(std::int64_t i) const {
    std::int64_t first, last;
    if (adaptive) {
      first = i * count / size;
      last = ((i + 1) * count - 1) / size;
    } else {
      const std::int64_t from = i + padding - kernel + 1;
      first = from <= 0 ? 0 : ceil_div(from, stride);
      last = (i + padding) / stride;
    }
    return {first, (last < count ? last + 1 : count), 0};
  }
};

/// True iff v takes the place of the maximum so far: the first of equal values wins, a NaN before
/// everything.
template <class T>
INVAR_HD bool wins(T v, T best) {
  return (v > best) | (v != v);
}

/// Element i of a dense [N, H, W, C] tensor.
struct Pixel {
  std::int64_t n, h, w, c;
  INVAR_HD Pixel(std::int64_t i, std::int64_t height, std::int64_t width, std::int64_t channels) {
    const std::int64_t pixel = i / channels, row = pixel / width;
    n = row / height;
    h = row - n * height;
    w = pixel - row * width;
    c = i - pixel * channels;
  }
};

/// out[i] and indices[i]
template <class S>
struct MaxPool {
  const S* x;
  PoolWindows rows, columns;
  std::int64_t channels;
  S* out;
  std::int32_t* indices;

  INVAR_HD void operator()(std::int64_t i) const {
    const Pixel at(i, rows.count, columns.count, channels);
    const PoolSpan row = rows(at.h), column = columns(at.w);
    const S* const image = x + at.n * rows.size * columns.size * channels + at.c;
    std::int64_t winner = row.begin * columns.size + column.begin;
    Computed<S> best = widen(image[winner * channels]);
    for (std::int64_t h = row.begin; h < row.end; ++h) {
      for (std::int64_t w = column.begin; w < column.end; ++w) {
        const std::int64_t pixel = h * columns.size + w;
        const Computed<S> v = widen(image[pixel * channels]);
        if (wins(v, best)) {
          best = v;
          winner = pixel;
        }
      }
    }
    out[i] = convert<S>(best);
    indices[i] = static_cast<std::int32_t>(winner);
  }
};

/// out[i] = x at indices[i]; `windows` of an image, `pixels` of one of x
template <class S>
struct MaxPoolSelect {
  const S* x;
  const std::int32_t* indices;
  std::int64_t windows, pixels, channels;
  S* out;

  INVAR_HD void operator()(std::int64_t i) const {
    const std::int64_t window = i / channels, n = window / windows;
    out[i] = x[(n * pixels + indices[i]) * channels + i - window * channels];
  }
};

/// A whole image's channel i: windows may overlap, and nothing but the indices tells which do. out
/// holds zeros.
template <class T>
struct MaxPoolBackward {
  const T* gradient;
  const std::int32_t* indices;
  std::int64_t windows, pixels, channels;
  T* out;

  INVAR_HD void operator()(std::int64_t i) const {
    const std::int64_t n = i / channels, c = i - n * channels;
    T* const image = out + n * pixels * channels + c;
    for (std::int64_t k = 0; k < windows; ++k) {
      const std::int64_t at = (n * windows + k) * channels + c;
      image[indices[at] * channels] += gradient[at];
    }
  }
};

/// out[i]: a window is summed row by row.
template <class S>
struct AvgPool {
  const S* x;
  PoolWindows rows, columns;
  std::int64_t channels;
  S* out;

  INVAR_HD void operator()(std::int64_t i) const {
    const Pixel at(i, rows.count, columns.count, channels);
    const PoolSpan row = rows(at.h), column = columns(at.w);
    const S* const image = x + at.n * rows.size * columns.size * channels + at.c;
    Computed<S> sum = 0;
    for (std::int64_t h = row.begin; h < row.end; ++h) {
      Computed<S> partial = 0;
      for (std::int64_t w = column.begin; w < column.end; ++w) {
        partial += widen(image[(h * columns.size + w) * channels]);
      }
      sum += partial;
    }
    out[i] = convert<S>(sum / static_cast<Computed<S>>(row.divisor * column.divisor));
  }
};

/// out[i]: what all windows that cover it give.
template <class S>
struct AvgPoolBackward {
  const S* gradient;
  PoolWindows rows, columns;
  std::int64_t channels;
  S* out;

  INVAR_HD void operator()(std::int64_t i) const {
    const Pixel at(i, rows.size, columns.size, channels);
    const PoolSpan p = rows.covering(at.h), q = columns.covering(at.w);
    const S* const image = gradient + at.n * rows.count * columns.count * channels + at.c;
    Computed<S> sum = 0;
    for (std::int64_t r = p.begin; r < p.end; ++r) {
      for (std::int64_t k = q.begin; k < q.end; ++k) {
        const std::int64_t divisor = rows(r).divisor * columns(k).divisor;
        sum += widen(image[(r * columns.count + k) * channels]) / static_cast<Computed<S>>(divisor);
      }
    }
    out[i] = convert<S>(sum);
  }
};

}  // namespace invar::functors
