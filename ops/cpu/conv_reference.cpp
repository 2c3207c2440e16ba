// All three convolutions are sums over the taps (a, b) of the kernel of products of small matrices:
//
//   forward          y[pixel, o]   = sum over taps, i       x[source(pixel, tap), i]  w[o, tap, i]
//   backward input   x'[pixel, i]  = sum over taps, o       g[source(pixel, tap), o]  w[o, tap, i]
//   backward weight  w'[o, tap, i] = sum over pixels of y   g[pixel, o]  x[source(pixel, tap), i]
//
// so one inner kernel serves them: a tile of kRows x kColumns sums held in registers. What it reads
// is laid out before: one operand as pointers to its rows, the other as a *panel*, kColumns columns
// of a matrix, zero-padded, so that the tile needs no special cases at the edges. A row of zeros
// stands for what lies outside of the image.
//
// Sums run in the order of the loops, over pieces that depend on the shape only: the same bits for
// any number of threads.
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/conv_reference.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <numeric>
#include <vector>

namespace invar::cpu::reference {
namespace {

using Vector = double __attribute__((vector_size(32)));  // four doubles
using UnalignedVector = double __attribute__((vector_size(32), aligned(8), may_alias));

constexpr std::int64_t kRows = 6;
constexpr std::int64_t kColumns = 8;  // two Vectors
constexpr std::int64_t kPixels = 96;  // pixels in a piece of work: 16 tiles

struct Tile {
  Vector sum[kRows][2] = {};

  double at(std::int64_t row, std::int64_t column) const {
    return sum[row][column / 4][column % 4];
  }

  /// sum[r][c] += sum over k < n of rows[r][k] panel[k][c]
  void multiply(const double* const* rows, const double* panel, std::int64_t n) {
    Vector s[kRows][2];
    for (int r = 0; r < kRows; ++r) s[r][0] = sum[r][0], s[r][1] = sum[r][1];
    for (std::int64_t k = 0; k < n; ++k) {
      const auto* const p = reinterpret_cast<const UnalignedVector*>(panel + k * kColumns);
      const Vector left = p[0], right = p[1];
      for (int r = 0; r < kRows; ++r) {
        s[r][0] += rows[r][k] * left;
        s[r][1] += rows[r][k] * right;
      }
    }
    for (int r = 0; r < kRows; ++r) sum[r][0] = s[r][0], sum[r][1] = s[r][1];
  }
};

/// The problem; `x` is the input, `y` the output of the forward convolution.
struct Geometry {
  Dims x, weight, y;
  Conv2dOptions o;
  std::int64_t taps = weight[1] * weight[2];
  std::int64_t inputs = weight[3];              ///< channels of a group
  std::int64_t outputs = weight[0] / o.groups;  ///< of a group

  /// The pixel of x that pixel `p` of y reads at a tap, or -1 outside.
  std::int64_t source(std::int64_t p, std::int64_t tap) const {
    const std::int64_t image = p / (y[1] * y[2]), row = p / y[2] % y[1], column = p % y[2];
    const std::int64_t h =
        row * o.stride.height - o.padding.height + tap / weight[2] * o.dilation.height;
    const std::int64_t w =
        column * o.stride.width - o.padding.width + tap % weight[2] * o.dilation.width;
    const bool inside = h >= 0 && h < x[1] && w >= 0 && w < x[2];
    return inside ? (image * x[1] + h) * x[2] + w : -1;
  }

  /// The pixel of y that reads pixel `p` of x at a tap, or -1 if none does.
  std::int64_t target(std::int64_t p, std::int64_t tap) const {
    const std::int64_t image = p / (x[1] * x[2]), row = p / x[2] % x[1], column = p % x[2];
    const std::int64_t h = row + o.padding.height - tap / weight[2] * o.dilation.height;
    const std::int64_t w = column + o.padding.width - tap % weight[2] * o.dilation.width;
    if (h < 0 || w < 0 || h % o.stride.height != 0 || w % o.stride.width != 0) return -1;
    const std::int64_t i = h / o.stride.height, j = w / o.stride.width;
    return i < y[1] && j < y[2] ? (image * y[1] + i) * y[2] + j : -1;
  }

  /// Pixels of x with equal phase are read by the same taps.
  std::int64_t phase(std::int64_t p) const {
    const std::int64_t row = p / x[2] % x[1], column = p % x[2];
    return (row + o.padding.height) % o.stride.height * o.stride.width +
           (column + o.padding.width) % o.stride.width;
  }
};

/// The weights of a group as panels: [column tile][tap][k][kColumns], where
/// weight(column, tap, k) is an element.
template <class Weight>
std::vector<double> pack_weight(std::int64_t columns, std::int64_t taps, std::int64_t depth,
                                const Weight& weight) {
  std::vector<double> panels(
      static_cast<std::size_t>(ceil_div(columns, kColumns) * taps * depth * kColumns));
  parallel_for(ceil_div(columns, kColumns), 1, [&](std::int64_t tile, std::int64_t) {
    double* to = panels.data() + tile * taps * depth * kColumns;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t k = 0; k < depth; ++k) {
        for (std::int64_t c = tile * kColumns; c < (tile + 1) * kColumns; ++c) {
          *to++ = c < columns ? weight(c, tap, k) : 0;
        }
      }
    }
  });
  return panels;
}

/// An image seen by a group: its pixels are `stride` apart and have `channels` channels each.
template <class T>
struct Image {
  T* data;
  std::int64_t pixels, stride, channels;
};

/// to[p, c] = initial[c] + sum over taps, k of from[read(p, tap), k] panels[c, tap, k]
/// for all pixels p; phase(p) is a number that pixels with the same set of taps share.
template <class Read, class Phase>
void gather_convolve(const Image<const double>& from, const std::vector<double>& panels,
                     std::int64_t taps, const double* initial, const Image<double>& to,
                     const Read& read, const Phase& phase) {
  const std::vector<double> zeros(static_cast<std::size_t>(from.channels), 0.0);
  parallel_for(to.pixels, kPixels, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin, padded = round_up(n, kRows);
    std::vector<std::int64_t> pixels(static_cast<std::size_t>(n));
    std::iota(pixels.begin(), pixels.end(), begin);
    std::stable_sort(pixels.begin(), pixels.end(),
                     [&](std::int64_t a, std::int64_t b) { return phase(a) < phase(b); });
    std::vector<const double*> rows(static_cast<std::size_t>(taps * padded), zeros.data());
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t source = read(pixels[static_cast<std::size_t>(j)], tap);
        if (source >= 0) rows[tap * padded + j] = from.data + source * from.stride;
      }
    }
    const std::int64_t panel = from.channels * kColumns;
    for (std::int64_t column = 0; column < to.channels; column += kColumns) {
      for (std::int64_t j = 0; j < n; j += kRows) {
        Tile tile;
        for (std::int64_t tap = 0; tap < taps; ++tap) {
          const double* const* r = rows.data() + tap * padded + j;
          if (std::all_of(r, r + kRows, [&](const double* p) { return p == zeros.data(); }))
            continue;
          tile.multiply(r, panels.data() + (column / kColumns * taps + tap) * panel, from.channels);
        }
        for (std::int64_t i = j; i < std::min(j + kRows, n); ++i) {
          double* const y = to.data + pixels[static_cast<std::size_t>(i)] * to.stride;
          for (std::int64_t c = column; c < std::min(column + kColumns, to.channels); ++c) {
            y[c] = tile.at(i - j, c - column) + (initial ? initial[c] : 0);
          }
        }
      }
    }
  });
}

std::int64_t pixels_of(const Tensor& image) {
  return image.shape()[0] * image.shape()[1] * image.shape()[2];
}

}  // namespace

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out) {
  const Geometry geometry{x.shape(), weight.shape(), out.shape(), o};
  const std::int64_t taps = geometry.taps, inputs = geometry.inputs, outputs = geometry.outputs;
  for (std::int64_t group = 0; group < o.groups; ++group) {
    const double* const w = weight.data<const double>() + group * outputs * taps * inputs;
    const auto panels =
        pack_weight(outputs, taps, inputs, [&](std::int64_t c, std::int64_t tap, std::int64_t k) {
          return w[(c * taps + tap) * inputs + k];
        });
    gather_convolve(
        {x.data<const double>() + group * inputs, pixels_of(x), x.shape()[3], inputs}, panels, taps,
        bias.defined() ? bias.data<const double>() + group * outputs : nullptr,
        {out.data<double>() + group * outputs, pixels_of(out), out.shape()[3], outputs},
        [&](std::int64_t p, std::int64_t tap) { return geometry.source(p, tap); },
        [](std::int64_t) { return 0; });
  }
}

void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  const Geometry geometry{out.shape(), weight.shape(), gradient.shape(), o};
  const std::int64_t taps = geometry.taps, inputs = geometry.inputs, outputs = geometry.outputs;
  for (std::int64_t group = 0; group < o.groups; ++group) {
    const double* const w = weight.data<const double>() + group * outputs * taps * inputs;
    const auto panels =
        pack_weight(inputs, taps, outputs, [&](std::int64_t c, std::int64_t tap, std::int64_t k) {
          return w[(k * taps + tap) * inputs + c];
        });
    gather_convolve(
        {gradient.data<const double>() + group * outputs, pixels_of(gradient), gradient.shape()[3],
         outputs},
        panels, taps, nullptr,
        {out.data<double>() + group * inputs, pixels_of(out), out.shape()[3], inputs},
        [&](std::int64_t p, std::int64_t tap) { return geometry.target(p, tap); },
        [&](std::int64_t p) { return geometry.phase(p); });
  }
}

void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  const Geometry geometry{x.shape(), out.shape(), gradient.shape(), o};
  const std::int64_t taps = geometry.taps, inputs = geometry.inputs, outputs = geometry.outputs;
  const std::int64_t pixels = pixels_of(gradient), column_tiles = ceil_div(inputs, kColumns);
  // A piece is one tap and up to kBand output channels; it owns that part of the result.
  constexpr std::int64_t kBand = 8 * kRows;
  const std::int64_t bands = ceil_div(outputs, kBand);
  parallel_for(o.groups * taps * bands, 1, [&](std::int64_t piece, std::int64_t) {
    const std::int64_t group = piece / (taps * bands), tap = piece / bands % taps;
    const std::int64_t first = piece % bands * kBand, band = std::min(kBand, outputs - first);
    const double* const g = gradient.data<const double>() + group * outputs + first;
    const double* const from = x.data<const double>() + group * inputs;
    std::vector<Tile> sums(static_cast<std::size_t>(ceil_div(band, kRows) * column_tiles));
    std::vector<double> columns(static_cast<std::size_t>(kBand * kPixels), 0.0);  // g transposed
    std::vector<double> panels(static_cast<std::size_t>(column_tiles * kPixels * kColumns), 0.0);
    for (std::int64_t begin = 0; begin < pixels; begin += kPixels) {
      std::int64_t n = 0;  // pixels that read the image at this tap
      for (std::int64_t p = begin; p < std::min(begin + kPixels, pixels); ++p) {
        const std::int64_t source = geometry.source(p, tap);
        if (source < 0) continue;
        for (std::int64_t c = 0; c < band; ++c) {
          columns[c * kPixels + n] = g[p * gradient.shape()[3] + c];
        }
        for (std::int64_t i = 0; i < inputs; ++i) {
          panels[(i / kColumns * kPixels + n) * kColumns + i % kColumns] =
              from[source * x.shape()[3] + i];
        }
        ++n;
      }
      for (std::int64_t i = 0; i < column_tiles; ++i) {
        for (std::int64_t c = 0; c < band; c += kRows) {
          const double* rows[kRows];
          for (std::int64_t r = 0; r < kRows; ++r) rows[r] = columns.data() + (c + r) * kPixels;
          sums[c / kRows * column_tiles + i].multiply(rows, panels.data() + i * kPixels * kColumns,
                                                      n);
        }
      }
    }
    double* const to = out.data<double>() + (group * outputs + first) * taps * inputs;
    for (std::int64_t c = 0; c < band; ++c) {
      for (std::int64_t i = 0; i < inputs; ++i) {
        to[(c * taps + tap) * inputs + i] =
            sums[c / kRows * column_tiles + i / kColumns].at(c % kRows, i % kColumns);
      }
    }
  });
}

}  // namespace invar::cpu::reference
