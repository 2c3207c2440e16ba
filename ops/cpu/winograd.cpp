#include <array>
#include <cstddef>
#include <invar/ops/cpu/isa.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/cpu/winograd.hpp>
#include <invar/ops/cpu/winograd_kernels.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/machine.hpp>
#include <span>

namespace invar::cpu {
namespace {

const WinogradKernels& kernels(DType dtype) {
  if (dtype == DType::bf16) return winograd_avx512_bf16();
  switch (isa()) {
    case Isa::avx512_bf16:
    case Isa::avx512:
      return winograd_avx512();
    case Isa::avx2:
      return winograd_avx2();
    case Isa::baseline:
      break;
  }
  return winograd_baseline();
}

/// One dimension of the algorithm: its products, each of a plane of the image and one of the
/// weight, added to one of the outputs; and how many planes there are.
struct Form {
  struct Product {
    std::int64_t image, weight, output;
  };
  std::span<const Product> products;
  std::int64_t images, outputs;
};

constexpr std::int64_t kWeights = 6;  // of every form

constexpr Form::Product kPlainProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2},
                                            {3, 3, 3}, {4, 4, 4}, {5, 5, 5}};
constexpr Form::Product kStridedProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3},
                                              {4, 4, 4},  // of the outer taps
                                              {5, 5, 0}, {6, 5, 5}, {7, 5, 6}, {8, 5, 4}};
constexpr Form::Product kSpreadProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3},
                                             {4, 4, 4},  // of the outer taps
                                             {5, 5, 5}, {6, 5, 6}, {7, 5, 7}, {8, 5, 8}};
constexpr Form kPlain{kPlainProducts, 6, 6}, kStrided{kStridedProducts, 9, 7},
    kSpread{kSpreadProducts, 9, 9};

/// In both dimensions: calls f for the products whose `member` is that plane, with planes numbered
/// row by row.
template <class F>
void for_products(const Form& form, std::int64_t Form::Product::*member, std::int64_t planes,
                  std::int64_t plane, const F& f) {
  for (const Form::Product& row : form.products) {
    if (row.*member != plane / planes) continue;
    for (const Form::Product& column : form.products) {
      if (column.*member != plane % planes) continue;
      f(Form::Product{row.image * form.images + column.image, row.weight * kWeights + column.weight,
                      row.output * form.outputs + column.output});
    }
  }
}

// Rows and planes a power of two apart would compete for the same few places in the cache: a line
// of it is put between them.
constexpr std::int64_t kLine = 16;

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// planes x planes planes of [rows][channels], padded, in scratch memory.
struct Planes {
  std::int64_t count, row, plane;

  Planes(std::int64_t planes, std::int64_t rows, std::int64_t channels, int width)
      : count(planes * planes), row(round_up(channels, width)) {
    if (row % (2 * kLine) == 0) row += kLine;
    plane = rows * row + kLine;
  }
  std::int64_t size() const { return count * plane; }
};

/// The tiles of size x size that cover a batch of images, numbered image by image, row by row. The
/// first pixel of an image's first tile is (-before.height, -before.width).
struct Tiles {
  std::int64_t down, across, count;

  Tiles(const Dims& images, std::int64_t size, Size2 before)
      : down((images[1] + before.height + size - 1) / size),
        across((images[2] + before.width + size - 1) / size),
        count(images[0] * down * across) {}
};

std::byte* bytes_at(const Tensor& x, std::int64_t element) {
  return static_cast<std::byte*>(x.raw_data()) +
         element * static_cast<std::int64_t>(size_of(x.dtype()));
}

/// Where the pixels of one tile of an image [N, H, W, C] are. Those outside of it are `outside`.
/// Tiles lie kStep pixels apart.
template <int kSize, int kStep>
struct TilePixels {
  void* pixels[kSize * kSize];

  TilePixels() = default;

  /// The tile's first pixel is (kStep i - before.height, kStep j - before.width).
  TilePixels(const Tensor& image, const Tiles& tiles, std::int64_t tile, Size2 before,
             void* outside) {
    const Dims& shape = image.shape();
    const std::int64_t n = tile / (tiles.down * tiles.across);
    const std::int64_t top = tile / tiles.across % tiles.down * kStep - before.height;
    const std::int64_t left = tile % tiles.across * kStep - before.width;
    const auto column = shape[3] * static_cast<std::int64_t>(size_of(image.dtype()));
    const std::int64_t row = shape[2] * column;
    const std::int64_t first = (n * shape[1] + top) * row + left * column;
    auto* const bytes = static_cast<std::byte*>(image.raw_data());
    const bool whole = top >= 0 && top + kSize <= shape[1] && left >= 0 && left + kSize <= shape[2];
    if (whole) {
      for (int i = 0; i < kSize; ++i) {
        for (int j = 0; j < kSize; ++j) {
          pixels[i * kSize + j] = bytes + (first + i * row + j * column);
        }
      }
      return;
    }
    for (int i = 0; i < kSize; ++i) {
      const bool row_inside = top + i >= 0 && top + i < shape[1];
      for (int j = 0; j < kSize; ++j) {
        const bool inside = row_inside && left + j >= 0 && left + j < shape[2];
        pixels[i * kSize + j] = inside ? bytes + (first + i * row + j * column) : outside;
      }
    }
  }

  /// Has what the tile before does not share brought into the cache. The processor cannot guess it:
  /// a tile's rows lie far apart.
  void prefetch(std::int64_t bytes) const {
    for (int i = 0; i < kSize; ++i) {
      for (int j = kSize - kStep; j < kSize; ++j) {
        for (std::int64_t at = 0; at < bytes; at += kLine * 4) {
          __builtin_prefetch(static_cast<std::byte*>(pixels[i * kSize + j]) + at);
        }
      }
    }
  }
};

constexpr std::int64_t kGrainTiles = 8;
constexpr int kMostTiles = 2;  // that a transform takes at once

/// The planes of tiles begin to end of x. `transform` is one of the kernels' for images or
/// gradients, and takes `at_once` tiles for every row of the planes; where the tiles are odd, it
/// takes zeros in the place of the last.
template <int kSize, int kStep>
void transform_tiles(decltype(WinogradKernels::Data::transform_image) transform, int at_once,
                     const Tensor& x, const Tiles& tiles, std::int64_t begin, std::int64_t end,
                     Size2 before, const Tensor& zeros, float* planes, const Planes& v) {
  using Group = std::array<TilePixels<kSize, kStep>, kMostTiles>;
  const std::int64_t channels = x.shape()[3];
  const std::int64_t bytes = channels * static_cast<std::int64_t>(size_of(x.dtype()));
  const std::int64_t groups = (end - begin + at_once - 1) / at_once;
  const auto read = [&](Group& group, std::int64_t index) {
    for (int i = 0; i < at_once; ++i) {
      const std::int64_t tile = begin + index * at_once + i;
      if (tile < end) {
        group[i] = TilePixels<kSize, kStep>(x, tiles, tile, before, zeros.raw_data());
        group[i].prefetch(bytes);
      } else {
        std::fill(std::begin(group[i].pixels), std::end(group[i].pixels), zeros.raw_data());
      }
    }
  };
  parallel_for(groups, kGrainTiles / at_once, [&](std::int64_t first, std::int64_t last) {
    Group groups[2];  // this one and the next, in turn
    read(groups[first % 2], first);
    for (std::int64_t i = first; i < last; ++i) {
      if (i + 1 < last) read(groups[(i + 1) % 2], i + 1);
      transform(groups[i % 2][0].pixels, channels, planes + i * v.row, v.plane);
    }
  });
}

/// The transformed weight as panels: [plane][columns / (2 width)][depth][2 width].
struct WeightPanels {
  std::int64_t panel, panels, plane;
  Tensor values;

  WeightPanels(std::int64_t depth, std::int64_t columns, int width)
      : panel(depth * 2 * width),
        panels(round_up(columns, 2 * width) / (2 * width)),
        plane(panels * panel + kLine),
        values(empty({kWeights * kWeights * plane})) {}
};

/// w(depth k, column n, tap t) = weight[origin + k * k_stride + n * n_stride + t * tap_stride].
struct WeightView {
  const Tensor& weight;
  std::int64_t origin, k_stride, n_stride, tap_stride;
};

WeightView forward_view(const Tensor& weight) {
  const std::int64_t inputs = weight.shape()[3];
  return {weight, 0, 1, 9 * inputs, inputs};
}

/// Outputs take the place of inputs, and the taps are turned.
WeightView turned_view(const Tensor& weight) {
  const std::int64_t inputs = weight.shape()[3];
  return {weight, 8 * inputs, 9 * inputs, 1, -inputs};
}

/// y = x convolved with w. Tiles of kImage x kImage pixels, kStep apart, become tiles of kOutput x
/// kOutput; the first ones begin x_before and y_before the images.
template <int kImage, int kStep, int kOutput>
void convolve(const WinogradKernels& kernel, const WinogradKernels::Data& transforms,
              const Form& form, const Tensor& x, Size2 x_before, const WeightView& w,
              const Tensor& bias, const Tensor& y, Size2 y_before) {
  const std::int64_t channels = x.shape()[3], columns = y.shape()[3], width = kernel.width;
  const std::int64_t depth = (channels + kernel.pair - 1) / kernel.pair;  // in units

  const WeightPanels u(depth, columns, kernel.width);
  parallel_for(u.panels, 1, [&](std::int64_t panel, std::int64_t) {
    for (std::int64_t k = 0; k < depth; ++k) {
      for (int half = 0; half < 2; ++half) {
        const std::int64_t n = std::min((2 * panel + half) * width, columns);
        transforms.transform_weight(
            bytes_at(w.weight, w.origin + k * kernel.pair * w.k_stride + n * w.n_stride),
            channels - k * kernel.pair, w.k_stride, columns - n, w.n_stride, w.tap_stride,
            u.values.data<float>() + panel * u.panel + (2 * k + half) * width, u.plane);
      }
    }
  });

  // A block's planes fit into the second-level cache, unless that would leave too few tiles to make
  // up for reading the weight. A problem with few blocks is one block, whose planes the threads
  // share; otherwise every thread has blocks of its own (parallel_for does not nest).
  constexpr std::int64_t kCacheFloats = 64 << 10, kFewestTiles = 24, kFewBlocks = 16;
  const Tiles tiles(y.shape(), kOutput, y_before);
  const std::int64_t tile_floats =
      form.images * form.images * depth + form.outputs * form.outputs * columns;
  std::int64_t block = round_up(std::max(kCacheFloats / tile_floats, kFewestTiles), 6);
  if (tiles.count <= kFewBlocks * block) block = tiles.count;
  const Planes v(form.images, block, depth, kernel.width),
      m(form.outputs, block, columns, kernel.width);
  const std::int64_t workers = block == tiles.count ? 1 : omp_get_max_threads();
  const Tensor scratch = empty({workers, v.size() + m.size()});
  const Tensor zeros_row = zeros({channels});
  const Tensor unused = empty({omp_get_max_threads(), columns});  // pixels outside of the image
  parallel_for(tiles.count, block, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t worker = workers == 1 ? 0 : omp_get_thread_num();
    float* const vs = scratch.data<float>() + worker * (v.size() + m.size());
    float* const ms = vs + v.size();
    transform_tiles<kImage, kStep>(transforms.transform_image, 1, x, tiles, begin, end, x_before,
                                   zeros_row, vs, v);
    parallel_for(m.count, 1, [&](std::int64_t plane, std::int64_t) {
      bool accumulate = false;
      const auto multiply = [&](const Form::Product& p) {
        kernel.multiply(end - begin, round_up(columns, width), depth, vs + p.image * v.plane, v.row,
                        1, u.values.data<const float>() + p.weight * u.plane, u.panel, 2 * width,
                        ms + p.output * m.plane, m.row, accumulate);
        accumulate = true;
      };
      for_products(form, &Form::Product::output, form.outputs, plane, multiply);
    });
    parallel_for(end - begin, kGrainTiles, [&](std::int64_t first, std::int64_t last) {
      float* const outside = unused.data<float>() + omp_get_thread_num() * columns;
      for (std::int64_t t = first; t < last; ++t) {
        const TilePixels<kOutput, kOutput> tile(y, tiles, begin + t, y_before, outside);
        transforms.transform_output(ms + t * m.row, m.plane, columns,
                                    bias.defined() ? bias.data<const float>() : nullptr,
                                    tile.pixels);
      }
    });
  });
}

// The tiles are cut into segments, each with a sum of its own, and a segment into blocks, each a
// product. There is one segment, whose planes the threads share, where several sums would fill the
// memory or cost a good part of the products (many channels, few tiles).
template <int kImage, int kStep>
void backward_weight(const WinogradKernels& kernel,
                     const WinogradKernels::WeightGradient& transforms, const Form& form,
                     const Tensor& gradient, const Tensor& x, Size2 padding, const Tensor& out) {
  const std::int64_t outputs = out.shape()[0], inputs = out.shape()[3], width = kernel.width;
  const Tiles tiles(gradient.shape(), 4, 0);
  const Planes sum(kWeights, outputs, inputs, kernel.width);

  constexpr std::int64_t kCacheFloats = 64 << 10, kSumFloats = 4 << 20, kTilesOfSum = 128;
  constexpr std::int64_t kFewestSegments = 8, kMostSegments = 32;
  std::int64_t segments =
      std::min({kSumFloats / sum.size(), tiles.count / kTilesOfSum, kMostSegments});
  if (segments < kFewestSegments) segments = 1;
  const std::int64_t tile_floats =
      (form.images * form.images * inputs + form.outputs * form.outputs * outputs) / kernel.pair;
  const std::int64_t block =
      segments == 1
          ? 128
          : round_up(std::clamp<std::int64_t>(kCacheFloats / tile_floats, 48, 128), kernel.pair);
  const std::int64_t blocks = (tiles.count + block - 1) / block;
  const std::int64_t segment = (blocks + segments - 1) / segments * block;

  const Planes v(form.images, block / kernel.pair, inputs, kernel.width),
      q(form.outputs, block / kernel.pair, outputs, kernel.width);
  const std::int64_t workers = segments == 1 ? 1 : omp_get_max_threads();
  const Tensor scratch = empty({workers, v.size() + q.size()}),
               sums = empty({segments, sum.size()});
  const Tensor zeros_row = zeros({std::max(inputs, outputs)});
  // With stride 2 the last planes are most of the work: threads that share planes share each.
  const std::int64_t parts = segments == 1 && form.images > kWeights && outputs >= 96 ? 2 : 1;
  const std::int64_t part = (outputs + parts - 1) / parts;
  parallel_for(tiles.count, segment, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t worker = workers == 1 ? 0 : omp_get_thread_num();
    float* const vs = scratch.data<float>() + worker * (v.size() + q.size());
    float* const qs = vs + v.size();
    float* const total = sums.data<float>() + begin / segment * sum.size();
    for (std::int64_t start = begin; start < end; start += block) {
      const std::int64_t n = std::min(block, end - start);
      transform_tiles<kImage, kStep>(transforms.transform_images, kernel.pair, x, tiles, start,
                                     start + n, padding, zeros_row, vs, v);
      transform_tiles<4, 4>(transforms.transform_gradients, kernel.pair, gradient, tiles, start,
                            start + n, 0, zeros_row, qs, q);
      parallel_for(parts * sum.count, 1, [&](std::int64_t i, std::int64_t) {
        const std::int64_t first = std::min(i / sum.count * part, outputs);
        const std::int64_t rows = std::min(part, outputs - first);
        bool accumulate = start > begin;
        const auto multiply = [&](const Form::Product& p) {
          kernel.multiply(rows, round_up(inputs, width), (n + kernel.pair - 1) / kernel.pair,
                          qs + p.output * q.plane + first, 1, q.row, vs + p.image * v.plane,
                          2 * width, v.row, total + p.weight * sum.plane + first * sum.row, sum.row,
                          accumulate);
          accumulate = true;
        };
        for_products(form, &Form::Product::weight, kWeights, i % sum.count, multiply);
      });
    }
  });

  const std::int64_t used = (tiles.count + segment - 1) / segment;
  parallel_for(outputs, 1, [&](std::int64_t output, std::int64_t) {
    for (std::int64_t i = 0; i < inputs; i += width) {
      float* const u = sums.data<float>() + output * sum.row + i;
      for (std::int64_t s = 1; s < used; ++s) {
        for (std::int64_t p = 0; p < sum.count; ++p) {
          for (std::int64_t lane = 0; lane < width; ++lane) {
            u[p * sum.plane + lane] += u[s * sum.size() + p * sum.plane + lane];
          }
        }
      }
      transforms.transform_weight(u, sum.plane, inputs - i,
                                  out.data<float>() + output * 9 * inputs + i, inputs);
    }
  });
}

}  // namespace

bool has_winograd(DType dtype) {
  if (dtype == DType::bf16) return isa() == Isa::avx512_bf16 && has_native_bf16();
  return dtype == DType::f32;
}

bool winograd_pays(const ConvProblem& problem, const Dims& outputs) {
  const bool is_bf16 = problem.dtype == DType::bf16;
  // oneDNN generates wider instructions than the baseline's.
  if (isa() == Isa::baseline || (is_bf16 && has_amx())) return false;
  const bool is_weight = problem.pass == ConvPass::backward_weight;
  const std::int64_t channels = std::min(problem.weight[0], problem.weight[3]);
  const auto used = [&](const Dims& images, std::int64_t size) {
    return static_cast<double>(images[0] * images[1] * images[2]) /
           static_cast<double>(size * size * Tiles(images, size, 0).count);
  };
  if (used(outputs, 4) < 0.5) return false;
  if (problem.stride == 2) {
    const bool is_full = used(problem.input, 8) > 0.8;
    if (is_weight && isa() == Isa::avx2) return channels >= 64 ? is_full : channels >= 16;
    return channels >= 64 && (is_weight || is_full);
  }
  return channels >= (is_bf16 && !is_weight ? 32 : 16);
}

bool winograd_fits(const Dims& weight, const Conv2dOptions& o) {
  return weight[1] == 3 && weight[2] == 3 && (o.stride == 1 || o.stride == 2) && o.dilation == 1 &&
         o.groups == 1;
}

void winograd_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const Conv2dOptions& o, const Tensor& out) {
  const WinogradKernels& kernel = kernels(x.dtype());
  const WeightView w = forward_view(weight);
  if (o.stride == 2) {
    convolve<9, 8, 4>(kernel, kernel.strided, kStrided, x, o.padding, w, bias, out, 0);
  } else {
    convolve<6, 4, 4>(kernel, kernel.plain, kPlain, x, o.padding, w, bias, out, 0);
  }
}

// With stride 2, tiles begin at an input of the inner tap: at 0 if the padding is odd, else at -1.
void winograd_conv2d_backward_input(const Tensor& gradient, const Tensor& weight,
                                    const Conv2dOptions& o, const Tensor& out) {
  const WinogradKernels& kernel = kernels(gradient.dtype());
  const WeightView w = turned_view(weight);
  const auto [height, width] = o.padding;
  if (o.stride == 2) {
    convolve<5, 4, 8>(kernel, kernel.spread, kSpread, gradient,
                      Size2(1 - (height + 1) / 2, 1 - (width + 1) / 2), w, {}, out,
                      Size2(1 - height % 2, 1 - width % 2));
  } else {
    convolve<6, 4, 4>(kernel, kernel.plain, kPlain, gradient, Size2(2 - height, 2 - width), w, {},
                      out, 0);
  }
}

void winograd_conv2d_backward_weight(const Tensor& gradient, const Tensor& x,
                                     const Conv2dOptions& o, const Tensor& out) {
  const WinogradKernels& kernel = kernels(x.dtype());
  if (o.stride == 2) {
    backward_weight<9, 8>(kernel, kernel.strided_weight, kStrided, gradient, x, o.padding, out);
  } else {
    backward_weight<6, 4>(kernel, kernel.plain_weight, kPlain, gradient, x, o.padding, out);
  }
}

}  // namespace invar::cpu
