#include <algorithm>
#include <array>
#include <cstddef>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/isa.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/cpu/winograd.hpp>
#include <invar/ops/cpu/winograd_kernels.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/machine.hpp>
#include <span>
#include <vector>

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
/// weight, added to one of the outputs; how many planes there are; and its tiles.
struct Form {
  struct Product {
    std::int64_t image, weight, output;
  };
  std::span<const Product> products;
  std::int64_t images, weights, outputs;  // planes
  std::int64_t size, step;  // of a tile of the image, and from one to the next: pixels
  std::int64_t tile;        // of outputs
};

constexpr Form::Product kPlainProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2},
                                            {3, 3, 3}, {4, 4, 4}, {5, 5, 5}};
constexpr Form::Product kStridedProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3},
                                              {4, 4, 4},  // of the outer taps
                                              {5, 5, 0}, {6, 5, 5}, {7, 5, 6}, {8, 5, 4}};
constexpr Form::Product kSpreadProducts[] = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3},
                                             {4, 4, 4},  // of the outer taps
                                             {5, 5, 5}, {6, 5, 6}, {7, 5, 7}, {8, 5, 8}};
constexpr Form kFour{kPlainProducts, 6, 6, 6, 6, 4, 4};
constexpr Form kThree{std::span(kPlainProducts).first(5), 5, 5, 5, 5, 3, 3};
constexpr Form kStrided{kStridedProducts, 9, 6, 7, 9, 8, 4};
constexpr Form kSpread{kSpreadProducts, 9, 6, 9, 5, 4, 8};

/// Part of one dimension of the images: `count` tiles of a form. The first one begins at these
/// pixels of the image and of the outputs, which may lie before them.
struct Stretch {
  const Form* form;
  std::int64_t count, image, output;
};

/// Where a tile lies in its image. The tile before it lacks its last `fresh` columns.
struct Window {
  std::int64_t top, left, height, width, fresh;
};

/// The tiles of two stretches in a batch of images, numbered image by image, row by row; their
/// planes are numbered row by row, too.
struct Tiles {
  Stretch down, across;
  std::int64_t count;
  std::int64_t images, weights, outputs;  // planes

  Tiles(const Stretch& down, const Stretch& across, std::int64_t batch)
      : down(down),
        across(across),
        count(batch * down.count * across.count),
        images(down.form->images * across.form->images),
        weights(down.form->weights * across.form->weights),
        outputs(down.form->outputs * across.form->outputs) {}

  Window image(std::int64_t tile) const {
    return window(tile, &Stretch::image, &Form::size, &Form::step);
  }
  Window output(std::int64_t tile) const {
    return window(tile, &Stretch::output, &Form::tile, &Form::tile);
  }

 private:
  Window window(std::int64_t tile, std::int64_t Stretch::*first, std::int64_t Form::*size,
                std::int64_t Form::*step) const {
    const Form &d = *down.form, &a = *across.form;
    const std::int64_t i = tile / across.count % down.count, j = tile % across.count;
    return {down.*first + i * (d.*step), across.*first + j * (a.*step), d.*size, a.*size, a.*step};
  }
};

/// Calls f for the products whose `member` is that plane; a row has `planes` of them.
template <class F>
void for_products(const Tiles& tiles, std::int64_t Form::Product::*member, std::int64_t planes,
                  std::int64_t plane, const F& f) {
  const Form &down = *tiles.down.form, &across = *tiles.across.form;
  for (const Form::Product& row : down.products) {
    if (row.*member != plane / planes) continue;
    for (const Form::Product& column : across.products) {
      if (column.*member != plane % planes) continue;
      f(Form::Product{row.image * across.images + column.image,
                      row.weight * across.weights + column.weight,
                      row.output * across.outputs + column.output});
    }
  }
}

// Rows and planes a power of two apart would compete for the same few places in the cache: a line
// of it is put between them.
constexpr std::int64_t kLine = 16;

/// `count` planes of [rows][channels], padded, in scratch memory.
struct Planes {
  std::int64_t count, row, plane;

  Planes(std::int64_t count, std::int64_t rows, std::int64_t channels, int width)
      : count(count), row(round_up(channels, width)) {
    if (row % (2 * kLine) == 0) row += kLine;
    plane = rows * row + kLine;
  }
  std::int64_t size() const { return count * plane; }
};

std::byte* bytes_at(const Tensor& x, std::int64_t element) {
  return static_cast<std::byte*>(x.raw_data()) +
         element * static_cast<std::int64_t>(size_of(x.dtype()));
}

constexpr std::int64_t kMostPixels = 81;  // of a tile

/// Finds the pixels of tiles in images [N, H, W, C]. They lie in the same places in every image and
/// are listed once: with few channels, to reckon them tile by tile takes a tenth of a convolution.
class TilePixels {
 public:
  /// `window` says where a tile lies in its image.
  TilePixels(const Tensor& images, const Tiles& tiles, Window (Tiles::*window)(std::int64_t) const)
      : images_(static_cast<std::byte*>(images.raw_data())),
        per_image_(tiles.down.count * tiles.across.count) {
    const Dims& shape = images.shape();
    const auto [top, left, h, w, step] = (tiles.*window)(0);
    height = h, width = w, fresh = step;
    bytes_of_pixel = shape[3] * static_cast<std::int64_t>(size_of(images.dtype()));
    bytes_of_image_ = shape[1] * shape[2] * bytes_of_pixel;
    places_.reserve(static_cast<std::size_t>(per_image_ * height * width));
    for (std::int64_t tile = 0; tile < per_image_; ++tile) {
      const Window at = (tiles.*window)(tile);
      for (std::int64_t i = at.top; i < at.top + height; ++i) {
        for (std::int64_t j = at.left; j < at.left + width; ++j) {
          const bool inside = i >= 0 && i < shape[1] && j >= 0 && j < shape[2];
          places_.push_back(inside ? (i * shape[2] + j) * bytes_of_pixel : kOutside);
        }
      }
    }
  }

  /// A tile's pixels, row by row. Those outside of the image are `outside`.
  void find(std::int64_t tile, void* outside, void** pixels) const {
    const std::int64_t n = height * width;
    const std::int64_t* const places = places_.data() + tile % per_image_ * n;
    std::byte* const image = images_ + tile / per_image_ * bytes_of_image_;
    for (std::int64_t i = 0; i < n; ++i) {
      pixels[i] = places[i] == kOutside ? outside : image + places[i];
    }
  }

  std::int64_t height, width;  ///< of a tile
  std::int64_t fresh;          ///< columns that the tile before does not share
  std::int64_t bytes_of_pixel;

 private:
  static constexpr std::int64_t kOutside = -1;

  std::byte* images_;
  std::int64_t per_image_;  // tiles
  std::int64_t bytes_of_image_;
  std::vector<std::int64_t> places_;  // of each tile's pixels in an image
};

constexpr std::int64_t kGrainTiles = 8;
constexpr int kMostTiles = 2;  // that a transform takes at once

/// The planes of tiles begin to end. `transform` is one of the kernels' for images or gradients,
/// and takes `at_once` tiles for every row of the planes; where the tiles are odd, it takes zeros
/// in the place of the last.
void transform_tiles(decltype(WinogradKernels::Data::transform_image) transform, int at_once,
                     const TilePixels& tiles, std::int64_t channels, std::int64_t begin,
                     std::int64_t end, const Tensor& zeros, float* planes, const Planes& v) {
  const std::int64_t groups = ceil_div(end - begin, at_once);
  const auto find = [&](std::int64_t group, void** pixels) {
    for (int i = 0; i < at_once; ++i) {
      const std::int64_t tile = begin + group * at_once + i;
      if (tile < end) {
        tiles.find(tile, zeros.raw_data(), pixels);
        // What the tile before does not share is brought into the cache. The processor cannot guess
        // it: a tile's rows lie far apart. (In a function of its own GCC 12 would drop it.)
        for (std::int64_t row = 0; row < tiles.height; ++row) {
          for (std::int64_t column = tiles.width - tiles.fresh; column < tiles.width; ++column) {
            const auto* const pixel = static_cast<std::byte*>(pixels[row * tiles.width + column]);
            for (std::int64_t at = 0; at < tiles.bytes_of_pixel; at += kLine * 4) {
              __builtin_prefetch(pixel + at);
            }
          }
        }
      } else {
        std::fill_n(pixels, tiles.height * tiles.width, zeros.raw_data());
      }
      pixels += tiles.height * tiles.width;
    }
  };
  parallel_for(groups, kGrainTiles / at_once, [&](std::int64_t first, std::int64_t last) {
    void* pixels[2][kMostTiles * kMostPixels];  // of this group and the next, in turn
    find(first, pixels[first % 2]);
    for (std::int64_t i = first; i < last; ++i) {
      if (i + 1 < last) find(i + 1, pixels[(i + 1) % 2]);
      transform(pixels[i % 2], channels, planes + i * v.row, v.plane);
    }
  });
}

/// The transformed weight as panels: [plane][columns / (2 width)][depth][2 width].
struct WeightPanels {
  std::int64_t panel, panels, plane;
  Tensor values;

  WeightPanels(std::int64_t planes, std::int64_t depth, std::int64_t columns, int width)
      : panel(depth * 2 * width),
        panels(ceil_div(columns, 2 * width)),
        plane(panels * panel + kLine),
        values(empty({planes * plane})) {}
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

/// y = x convolved with w, as far as the tiles cover it.
void convolve(const WinogradKernels& kernel, const WinogradKernels::Data& transforms,
              const Tiles& tiles, const Tensor& x, const WeightView& w, const Tensor& bias,
              const Tensor& y) {
  const std::int64_t channels = x.shape()[3], columns = y.shape()[3], width = kernel.width;
  const std::int64_t depth = ceil_div(channels, kernel.pair);  // in units

  const WeightPanels u(tiles.weights, depth, columns, kernel.width);
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
  const std::int64_t tile_floats = tiles.images * depth + tiles.outputs * columns;
  std::int64_t block = round_up(std::max(kCacheFloats / tile_floats, kFewestTiles), 6);
  if (tiles.count <= kFewBlocks * block) block = tiles.count;
  const Planes v(tiles.images, block, depth, kernel.width),
      m(tiles.outputs, block, columns, kernel.width);
  const Workers workers;
  const bool is_shared = block == tiles.count;
  const Tensor scratch = empty({is_shared ? 1 : workers.count(), v.size() + m.size()});
  const Tensor zeros_row = zeros({channels});
  const Tensor unused = empty({workers.count(), columns});  // pixels outside of the image
  const TilePixels from(x, tiles, &Tiles::image), to(y, tiles, &Tiles::output);
  parallel_for(tiles.count, block, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t worker = is_shared ? 0 : workers.current();
    float* const vs = scratch.data<float>() + worker * (v.size() + m.size());
    float* const ms = vs + v.size();
    transform_tiles(transforms.transform_image, 1, from, channels, begin, end, zeros_row, vs, v);
    parallel_for(m.count, 1, [&](std::int64_t plane, std::int64_t) {
      bool accumulate = false;
      const auto multiply = [&](const Form::Product& p) {
        kernel.multiply(end - begin, round_up(columns, width), depth, vs + p.image * v.plane, v.row,
                        1, u.values.data<const float>() + p.weight * u.plane, u.panel, 2 * width,
                        ms + p.output * m.plane, m.row, accumulate);
        accumulate = true;
      };
      for_products(tiles, &Form::Product::output, tiles.across.form->outputs, plane, multiply);
    });
    parallel_for(end - begin, kGrainTiles, [&](std::int64_t first, std::int64_t last) {
      float* const outside = unused.data<float>() + workers.current() * columns;
      for (std::int64_t t = first; t < last; ++t) {
        void* pixels[kMostPixels];
        to.find(begin + t, outside, pixels);
        transforms.transform_output(ms + t * m.row, m.plane, columns,
                                    bias.defined() ? bias.data<const float>() : nullptr, pixels);
      }
    });
  });
}

// The tiles are cut into segments, each with a sum of its own, and a segment into blocks, each a
// product. There is one segment, whose planes the threads share, where several sums would fill the
// memory or cost a good part of the products (many channels, few tiles).
//
// What the tiles contribute is stored in `out`, or added to it.
void backward_weight(const WinogradKernels& kernel,
                     const WinogradKernels::WeightGradient& transforms, const Tiles& tiles,
                     const Tensor& gradient, const Tensor& x, const Tensor& out, bool add) {
  const std::int64_t outputs = out.shape()[0], inputs = out.shape()[3], width = kernel.width;
  const Planes sum(tiles.weights, outputs, inputs, kernel.width);

  constexpr std::int64_t kCacheFloats = 64 << 10, kSumFloats = 4 << 20, kTilesOfSum = 128;
  constexpr std::int64_t kFewestSegments = 8, kMostSegments = 32;
  std::int64_t segments =
      std::min({kSumFloats / sum.size(), tiles.count / kTilesOfSum, kMostSegments});
  if (segments < kFewestSegments) segments = 1;
  const std::int64_t tile_floats = (tiles.images * inputs + tiles.outputs * outputs) / kernel.pair;
  const std::int64_t block =
      segments == 1
          ? 128
          : round_up(std::clamp<std::int64_t>(kCacheFloats / tile_floats, 48, 128), kernel.pair);
  const std::int64_t blocks = ceil_div(tiles.count, block);
  const std::int64_t segment = ceil_div(blocks, segments) * block;

  const Planes v(tiles.images, block / kernel.pair, inputs, kernel.width),
      q(tiles.outputs, block / kernel.pair, outputs, kernel.width);
  const Workers workers;
  const Tensor scratch = empty({segments == 1 ? 1 : workers.count(), v.size() + q.size()}),
               sums = empty({segments, sum.size()});
  const Tensor zeros_row = zeros({std::max(inputs, outputs)});
  const TilePixels images(x, tiles, &Tiles::image), gradients(gradient, tiles, &Tiles::output);
  // With stride 2 the last planes are most of the work: threads that share planes share each.
  const std::int64_t parts = segments == 1 && tiles.images > tiles.weights && outputs >= 96 ? 2 : 1;
  const std::int64_t part = ceil_div(outputs, parts);
  parallel_for(tiles.count, segment, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t worker = segments == 1 ? 0 : workers.current();
    float* const vs = scratch.data<float>() + worker * (v.size() + q.size());
    float* const qs = vs + v.size();
    float* const total = sums.data<float>() + begin / segment * sum.size();
    for (std::int64_t start = begin; start < end; start += block) {
      const std::int64_t n = std::min(block, end - start);
      transform_tiles(transforms.transform_images, kernel.pair, images, inputs, start, start + n,
                      zeros_row, vs, v);
      transform_tiles(transforms.transform_gradients, kernel.pair, gradients, outputs, start,
                      start + n, zeros_row, qs, q);
      parallel_for(parts * sum.count, 1, [&](std::int64_t i, std::int64_t) {
        const std::int64_t first = std::min(i / sum.count * part, outputs);
        const std::int64_t rows = std::min(part, outputs - first);
        bool accumulate = start > begin;
        const auto multiply = [&](const Form::Product& p) {
          kernel.multiply(rows, round_up(inputs, width), ceil_div(n, kernel.pair),
                          qs + p.output * q.plane + first, 1, q.row, vs + p.image * v.plane,
                          2 * width, v.row, total + p.weight * sum.plane + first * sum.row, sum.row,
                          accumulate);
          accumulate = true;
        };
        for_products(tiles, &Form::Product::weight, tiles.across.form->weights, i % sum.count,
                     multiply);
      });
    }
  });

  const std::int64_t used = ceil_div(tiles.count, segment);
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
                                  out.data<float>() + output * 9 * inputs + i, inputs, add);
    }
  });
}

// Stride 1: tiles of four outputs and of three cover both dimensions, which makes up to four kinds
// of tiles. 5 outputs are 3 + 2, 7 are 4 + 3, 10 are 4 + 3 + 3.

constexpr const Form* kKinds[] = {&kFour, &kThree};
using Cover = std::array<std::int64_t, 2>;  // of one dimension: tiles of each kind

/// The products of all tiles, in numbers per channel; each kind of tiles counts as `more` of them.
std::int64_t products(std::int64_t batch, const Cover& down, const Cover& across,
                      std::int64_t more) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t j = 0; j < 2; ++j) {
      const std::int64_t tiles = batch * down[i] * across[j];
      if (tiles > 0) sum += kKinds[i]->images * kKinds[j]->images * (tiles + more);
    }
  }
  return sum;
}

struct Covers {
  Cover down, across;
};

/// The cheapest way to cover outputs [N, H, W, C].
Covers cheapest_covers(const Dims& outputs) {
  // What it costs to transform the weight, and to read it, in tiles. From bench_conv.
  constexpr std::int64_t kWeightTiles = 50;
  const auto cover = [](std::int64_t n, std::int64_t threes) {
    return Cover{std::max<std::int64_t>(0, (n - 3 * threes + 3) / 4), threes};
  };
  Covers best{cover(outputs[1], 0), cover(outputs[2], 0)};
  std::int64_t least = products(outputs[0], best.down, best.across, kWeightTiles);
  for (std::int64_t i = 0; i <= 3; ++i) {
    for (std::int64_t j = 0; j <= 3; ++j) {
      const Covers covers{cover(outputs[1], i), cover(outputs[2], j)};
      const std::int64_t sum = products(outputs[0], covers.down, covers.across, kWeightTiles);
      if (sum < least) {
        best = covers;
        least = sum;
      }
    }
  }
  return best;
}

/// Calls f(tiles, kind down, kind across) for each kind of tiles of outputs [N, H, W, C].
template <class F>
void for_tiles(const Dims& outputs, Size2 padding, const F& f) {
  const auto [down, across] = cheapest_covers(outputs);
  const auto stretch = [](const Cover& cover, std::size_t kind, std::int64_t before) {
    const std::int64_t first = kind * 4 * cover[0];  // tiles of three follow those of four
    return Stretch{kKinds[kind], cover[kind], first - before, first};
  };
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t j = 0; j < 2; ++j) {
      const Tiles tiles(stretch(down, i, padding.height), stretch(across, j, padding.width),
                        outputs[0]);
      if (tiles.count > 0) f(tiles, i, j);
    }
  }
}

/// Stride 2, forward: tiles of 4x4 outputs.
Tiles strided_tiles(const Dims& outputs, Size2 padding) {
  const auto stretch = [](std::int64_t n, std::int64_t before) {
    return Stretch{&kStrided, (n + 3) / 4, -before, 0};
  };
  return {stretch(outputs[1], padding.height), stretch(outputs[2], padding.width), outputs[0]};
}

/// Stride 2, the gradient of the input: tiles of 8x8 inputs. They begin at an input of the inner
/// tap: at 0 if the padding is odd, else at -1.
Tiles spread_tiles(const Dims& inputs, Size2 padding) {
  const auto stretch = [](std::int64_t n, std::int64_t before) {
    const std::int64_t first = before % 2 - 1;
    return Stretch{&kSpread, (n - first + 7) / 8, (before + 1) / 2 - 1, first};
  };
  return {stretch(inputs[1], padding.height), stretch(inputs[2], padding.width), inputs[0]};
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
  const auto height = outputs[1], width = outputs[2];
  if (problem.stride == 2) {
    const auto used = [](std::int64_t n, std::int64_t tile) {
      return static_cast<double>(n) / static_cast<double>(round_up(n, tile));
    };
    if (used(height, 4) * used(width, 4) < 0.5) return false;
    const bool is_full = used(problem.input[1], 8) * used(problem.input[2], 8) > 0.8;
    if (is_weight && isa() == Isa::avx2) return channels >= 64 ? is_full : channels >= 16;
    return channels >= 64 && (is_weight || is_full);
  }
  const Covers covers = cheapest_covers(outputs);
  if (9 * outputs[0] * height * width < 2 * products(outputs[0], covers.down, covers.across, 0)) {
    return false;
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
    return convolve(kernel, kernel.strided, strided_tiles(out.shape(), o.padding), x, w, bias, out);
  }
  for_tiles(out.shape(), o.padding, [&](const Tiles& tiles, std::size_t i, std::size_t j) {
    convolve(kernel, kernel.plain[i][j], tiles, x, w, bias, out);
  });
}

void winograd_conv2d_backward_input(const Tensor& gradient, const Tensor& weight,
                                    const Conv2dOptions& o, const Tensor& out) {
  const WinogradKernels& kernel = kernels(gradient.dtype());
  const WeightView w = turned_view(weight);
  const auto [height, width] = o.padding;
  if (o.stride == 2) {
    return convolve(kernel, kernel.spread, spread_tiles(out.shape(), o.padding), gradient, w, {},
                    out);
  }
  for_tiles(out.shape(), Size2(2 - height, 2 - width),
            [&](const Tiles& tiles, std::size_t i, std::size_t j) {
              convolve(kernel, kernel.plain[i][j], tiles, gradient, w, {}, out);
            });
}

void winograd_conv2d_backward_weight(const Tensor& gradient, const Tensor& x,
                                     const Conv2dOptions& o, const Tensor& out) {
  const WinogradKernels& kernel = kernels(x.dtype());
  if (o.stride == 2) {
    return backward_weight(kernel, kernel.strided_weight,
                           strided_tiles(gradient.shape(), o.padding), gradient, x, out, false);
  }
  bool add = false;
  for_tiles(gradient.shape(), o.padding, [&](const Tiles& tiles, std::size_t i, std::size_t j) {
    backward_weight(kernel, kernel.plain_weight[i][j], tiles, gradient, x, out, add);
    add = true;
  });
}

}  // namespace invar::cpu
