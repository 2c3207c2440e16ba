// w'[o, tap, i] = sum over pixels of y   g[pixel, o] x[source(pixel, tap), i]
//
// is, for each tap of the kernel, a product of two tall matrices. The work goes over blocks of
// whole images:
//
//   1. g and x of a block are copied into panels, [channel tile][pixel][channels of the tile], so
//      that what a tile reads is dense: 16 channels of g, 6 of x.
//   2. For every pair of panels, tap by tap, 6 x 16 sums are held in registers while they run over
//      the pixels. Which pixel of x belongs to which of g at a tap stands in a list that holds only
//      those inside of the image. The lists are walked kRun pixels at a time, all taps one after
//      another: that part of the panels stays in the first-level cache meanwhile.
//
// A block's sums start at zero and are added to the total in f32, block after block: the error
// grows with the square root of the pixels in a block plus that of the blocks. Blocks and runs
// depend on the shape only, and every sum is one thread's: the same bits for any number of threads.
#include <cstring>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/conv_backward_weight.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <vector>

#if defined(__AVX2__) && defined(__FMA__)
namespace invar::cpu {
namespace {

constexpr std::int64_t kOutputs = 16;  // of a tile: two vectors
constexpr std::int64_t kInputs = 6;
constexpr std::int64_t kTile = kInputs * kOutputs;
constexpr std::int64_t kRun = 128;
constexpr std::int64_t kBlockFloats = 1 << 19;  // of g and x in a block, about

/// Where a pixel of g and the pixel of x that it meets stand in their panels.
struct Pair {
  std::int32_t g, x;
};

using Vector = float __attribute__((vector_size(32)));
using UnalignedVector = float __attribute__((vector_size(32), aligned(4), may_alias));

struct Tile {
  Vector sum[kInputs][2];

  /// sum[i][o] += sum over the pairs of x[pair.x + i] g[pair.g + o]
  void add_products(const float* g, const float* x, const Pair* pairs, std::int64_t n) {
    Vector s[kInputs][2];
    for (int i = 0; i < kInputs; ++i) s[i][0] = sum[i][0], s[i][1] = sum[i][1];
    for (std::int64_t k = 0; k < n; ++k) {
      const auto* const row = reinterpret_cast<const UnalignedVector*>(g + pairs[k].g);
      const Vector left = row[0], right = row[1];
      const float* const v = x + pairs[k].x;
      for (int i = 0; i < kInputs; ++i) {
        s[i][0] += v[i] * left;
        s[i][1] += v[i] * right;
      }
    }
    for (int i = 0; i < kInputs; ++i) sum[i][0] = s[i][0], sum[i][1] = s[i][1];
  }

  void operator+=(const Tile& other) {
    for (int i = 0; i < kInputs; ++i) sum[i][0] += other.sum[i][0], sum[i][1] += other.sum[i][1];
  }
  float at(std::int64_t i, std::int64_t o) const { return sum[i][o / 8][o % 8]; }
};

/// [pixel][channels] to [tile][pixel][kWidth], zero-padded.
template <std::int64_t kWidth>
void pack(const float* from, std::int64_t pixels, std::int64_t channels, float* to) {
  parallel_for(pixels, std::max<std::int64_t>(kGrain / channels, 1),
               [=](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = 0; c < channels; c += kWidth) {
                   const std::int64_t n = std::min(kWidth, channels - c);
                   const float* row = from + begin * channels + c;
                   float* panel = to + (c / kWidth * pixels + begin) * kWidth;
                   for (std::int64_t p = begin; p < end; ++p, row += channels, panel += kWidth) {
                     if (n == kWidth) {
                       std::memcpy(panel, row, kWidth * sizeof(float));
                     } else {
                       for (std::int64_t i = 0; i < kWidth; ++i) panel[i] = i < n ? row[i] : 0;
                     }
                   }
                 }
               });
}

/// The pairs of a block, by run of pixels and by tap: those of run r and tap t are
/// pairs[starts[r * taps + t]] up to the next start.
struct PairLists {
  std::vector<Pair> pairs;
  std::vector<std::int64_t> starts;

  PairLists(std::int64_t images, const Dims& x, const Dims& weight, const Dims& y,
            const Conv2dOptions& o) {
    const std::int64_t pixels = images * y[1] * y[2];
    for (std::int64_t begin = 0; begin < pixels; begin += kRun) {
      for (std::int64_t tap = 0; tap < weight[1] * weight[2]; ++tap) {
        starts.push_back(static_cast<std::int64_t>(pairs.size()));
        for (std::int64_t p = begin; p < std::min(begin + kRun, pixels); ++p) {
          const std::int64_t image = p / (y[1] * y[2]);
          const std::int64_t h = p / y[2] % y[1] * o.stride.height - o.padding.height +
                                 tap / weight[2] * o.dilation.height;
          const std::int64_t w =
              p % y[2] * o.stride.width - o.padding.width + tap % weight[2] * o.dilation.width;
          if (h < 0 || h >= x[1] || w < 0 || w >= x[2]) continue;
          pairs.push_back({static_cast<std::int32_t>(p * kOutputs),
                           static_cast<std::int32_t>(((image * x[1] + h) * x[2] + w) * kInputs)});
        }
      }
    }
    starts.push_back(static_cast<std::int64_t>(pairs.size()));
  }
};

}  // namespace

bool prefers_avx2_backward_weight(const Dims& x, const Dims& weight, const Dims& y,
                                  const Conv2dOptions& o) {
  constexpr std::int64_t kMostPixels = std::int64_t{1} << 26;  // Pair holds 16 times as many
  return o.groups == 1 && weight[1] * weight[2] > 1 && weight[0] >= kOutputs &&
         weight[3] >= kOutputs && x[1] * x[2] < kMostPixels && y[1] * y[2] < kMostPixels;
}

void conv2d_backward_weight_avx2(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                                 const Tensor& out) {
  const Dims &from = x.shape(), &weight = out.shape(), &y = gradient.shape();
  const std::int64_t outputs = weight[0], inputs = weight[3], taps = weight[1] * weight[2];
  const std::int64_t output_tiles = ceil_div(outputs, kOutputs),
                     input_tiles = ceil_div(inputs, kInputs);
  const std::int64_t x_pixels = from[1] * from[2], y_pixels = y[1] * y[2];
  const std::int64_t images =
      std::clamp<std::int64_t>(kBlockFloats / (inputs * x_pixels + outputs * y_pixels), 1, from[0]);

  const Tensor x_panels = empty({input_tiles * images * x_pixels * kInputs});
  const Tensor y_panels = empty({output_tiles * images * y_pixels * kOutputs});
  const Tensor total_bytes = empty({output_tiles * input_tiles * taps * kTile});
  Tile* const totals = reinterpret_cast<Tile*>(total_bytes.raw_data());
  PairLists lists(images, from, weight, y, o);
  for (std::int64_t first = 0; first < from[0]; first += images) {
    const std::int64_t n = std::min(images, from[0] - first);
    if (n < images) lists = PairLists(n, from, weight, y, o);
    pack<kInputs>(x.data<const float>() + first * x_pixels * inputs, n * x_pixels, inputs,
                  x_panels.data<float>());
    pack<kOutputs>(gradient.data<const float>() + first * y_pixels * outputs, n * y_pixels, outputs,
                   y_panels.data<float>());
    const std::int64_t runs = static_cast<std::int64_t>(lists.starts.size() - 1) / taps;
    parallel_for(output_tiles * input_tiles, 1, [&](std::int64_t tile, std::int64_t) {
      const float* const g =
          y_panels.data<const float>() + tile / input_tiles * n * y_pixels * kOutputs;
      const float* const v =
          x_panels.data<const float>() + tile % input_tiles * n * x_pixels * kInputs;
      std::vector<Tile> sums(static_cast<std::size_t>(taps), Tile{});
      for (std::int64_t run = 0; run < runs; ++run) {
        for (std::int64_t tap = 0; tap < taps; ++tap) {
          const std::int64_t* const start = lists.starts.data() + run * taps + tap;
          sums[tap].add_products(g, v, lists.pairs.data() + start[0], start[1] - start[0]);
        }
      }
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        Tile& total = totals[tile * taps + tap];
        if (first == 0)
          total = sums[tap];
        else
          total += sums[tap];
      }
    });
  }

  parallel_for(outputs, 1, [&](std::int64_t output, std::int64_t) {
    float* to = out.data<float>() + output * taps * inputs;
    const Tile* const row = totals + output / kOutputs * input_tiles * taps;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t i = 0; i < inputs; ++i) {
        *to++ = row[i / kInputs * taps + tap].at(i % kInputs, output % kOutputs);
      }
    }
  });
}

}  // namespace invar::cpu

#else

namespace invar::cpu {

bool prefers_avx2_backward_weight(const Dims&, const Dims&, const Dims&, const Conv2dOptions&) {
  return false;
}
void conv2d_backward_weight_avx2(const Tensor&, const Tensor&, const Conv2dOptions&,
                                 const Tensor&) {
  fail_internal("conv2d_backward_weight", "built without AVX2");
}

}  // namespace invar::cpu

#endif
