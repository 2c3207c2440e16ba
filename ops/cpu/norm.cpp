// Normalisation. What a batch-norm does is limited by memory, so its kernels go over x once per
// pass and keep the rest in registers and the first cache.
//
// Note [Sums over a batch]: the statistics are sums over the columns of a dense [rows, channels]
// matrix. An f64 addition per element would cost more than reading the element, so
//   - a block of up to kBlockRows rows is summed in the dtype itself,
//   - the sums of the blocks are added in f64, in pieces of rows, one after another,
//   - the sums of the pieces are added in order.
// All of these are cut by the shape alone: any number of threads gives the same bits. A sum of 32
// terms t in f32 is wrong by a few 1e-8 of the sum of |t|, typically (32 u = 2e-6 at worst); the
// errors of different blocks are independent, and f64 adds none: what remains is less than the
// rounding of the result to f32, unless the terms cancel.
//
// Data may be bf16 (S is what x is stored as, T what is computed in): statistics, parameters and
// sums are f32 then, and each element is widened and rounded in registers.
//
// Rows with few channels are walked several at a time, side by side, as one row of up to kWidth
// columns: loops over 16 channels would be all prologue, and four such long rows at once are four
// streams from memory, which one core needs to use its bandwidth. kWidth is not a power of two: the
// rows would share their places in the first cache.
#include <cmath>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/lanes.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/functors/norm.hpp>
#include <invar/ops/functors/unary.hpp>
#include <vector>

namespace invar::cpu {
namespace {

constexpr std::int64_t kPieceElements = 65536;
constexpr std::int64_t kBlockRows = 32;
constexpr std::int64_t kWidth = 1984;

/// Calls f<S, T>: elements of this dtype are stored as S and computed with as T.
template <class F>
void visit_stored(DType dtype, std::string_view op, const F& f) {
  if (dtype == DType::bf16) return f.template operator()<BFloat16, float>();
  visit_real(dtype, op, [&]<class T>() { f.template operator()<T, T>(); });
}

std::int64_t piece_rows(std::int64_t c) { return std::max(kPieceElements / c, kBlockRows); }

std::int64_t rows_side_by_side(std::int64_t c) { return std::max<std::int64_t>(kWidth / c, 1); }

/// One number per channel, for as many rows as stand side by side.
template <class T>
class ChannelTable {
 public:
  template <class F>
  ChannelTable(std::int64_t c, const F& value_of)
      : values_(static_cast<std::size_t>(c * rows_side_by_side(c))) {
    for (std::int64_t i = 0; i < c; ++i) values_[i] = static_cast<T>(value_of(i));
    for (std::size_t i = c; i < values_.size(); ++i) values_[i] = values_[i - c];
  }
  const T* data() const { return values_.data(); }

 private:
  std::vector<T> values_;
};

/// x [rows, channels] as (x - centre) scale + shift, element by element.
template <class T>
struct Affine {
  ChannelTable<T> centre, scale, shift;

  Affine(const functors::BatchNormChannels<T>& in, std::int64_t c)
      : centre(c, [&](std::int64_t i) { return in.centre(i); }),
        scale(c, [&](std::int64_t i) { return in.scale(i); }),
        shift(c, [&](std::int64_t i) { return in.shift(i); }) {}
};

/// Calls f(offset, width) for runs of whole rows that cover all of them: elements
/// [offset, offset + width).
template <class F>
void for_row_runs(std::int64_t rows, std::int64_t c, const F& f) {
  const std::int64_t step = rows_side_by_side(c);
  parallel_for(rows, piece_rows(c), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; r += step) f(r * c, std::min(step, end - r) * c);
  });
}

/// Some rows of `width` columns; the first begins at element `offset`.
struct Block {
  std::int64_t offset, rows, width;
};

/// Calls f<n>(offset) for the rows of a block, n = 4 at a time while there are as many.
template <class F>
void for_rows_of(const Block& block, const F& f) {
  std::int64_t r = 0;
  for (; r + 4 <= block.rows; r += 4) f.template operator()<4>(block.offset + r * block.width);
  for (; r < block.rows; ++r) f.template operator()<1>(block.offset + r * block.width);
}

/// Two sums per channel over all rows: 2 c numbers. See Note [Sums over a batch].
/// sum_block(block, scratch, totals) adds the sums of a block's columns to the totals of their
/// channels; scratch has room for three rows.
template <class T, class SumBlock>
std::vector<double> column_sums(std::int64_t rows, std::int64_t c, const SumBlock& sum_block) {
  const std::int64_t piece = piece_rows(c), pieces = ceil_div(rows, piece);
  const std::int64_t side_by_side = rows_side_by_side(c);
  std::vector<double> totals(static_cast<std::size_t>(pieces * 2 * c), 0.0);
  parallel_for(rows, piece, [&](std::int64_t begin, std::int64_t end) {
    double* const total = totals.data() + begin / piece * 2 * c;
    std::vector<T> scratch(static_cast<std::size_t>(3 * side_by_side * c));
    std::int64_t r = begin;
    while (end - r >= side_by_side) {
      const std::int64_t n = std::min(kBlockRows, (end - r) / side_by_side);
      sum_block(Block{r * c, n, side_by_side * c}, scratch.data(), total);
      r += n * side_by_side;
    }
    if (r < end) sum_block(Block{r * c, 1, (end - r) * c}, scratch.data(), total);
  });
  for (std::int64_t p = 1; p < pieces; ++p) {
    for (std::int64_t i = 0; i < 2 * c; ++i) totals[i] += totals[p * 2 * c + i];
  }
  totals.resize(static_cast<std::size_t>(2 * c));
  return totals;
}

/// A value near the mean of each column: that of its first eight, or the first.
template <class S, class T>
void choose_shift(const S* v, const Block& block, T* __restrict shift) {
  const std::int64_t w = block.width;
  if (block.rows < 8) {
    std::copy(v, v + w, shift);
    return;
  }
  for (std::int64_t i = 0; i < w; ++i) {
    // Added in pairs, which is exact if all are equal: their variance is 0.
    const T a = (v[i] + v[w + i]) + (v[2 * w + i] + v[3 * w + i]);
    const T b = (v[4 * w + i] + v[5 * w + i]) + (v[6 * w + i] + v[7 * w + i]);
    shift[i] = (a + b) * T(0.125);
  }
}

/// Adds kRows rows of d = v - shift, and of d^2, to the sums of their columns.
template <int kRows, class S, class T>
void add_deviations(const S* v, const T* shift, std::int64_t width, T* __restrict sum,
                    T* __restrict squares) {
  for (std::int64_t i = 0; i < width; ++i) {
    T total = 0, total_squares = 0;
    for (int r = 0; r < kRows; ++r) {
      const T d = v[r * width + i] - shift[i];
      total += d;
      total_squares += d * d;
    }
    sum[i] += total;
    squares[i] += total_squares;
  }
}

/// Adds what n rows have given, relative to `reference` instead of their shift.
template <class S, class T>
void add_shifted(const T* sum, const T* squares, const T* shift, const S* reference, double n,
                 std::int64_t c, double* __restrict total, double* __restrict total_squares) {
  for (std::int64_t i = 0; i < c; ++i) {
    const double e = static_cast<double>(shift[i]) - static_cast<double>(reference[i]);
    const auto d = static_cast<double>(sum[i]);
    total[i] += d + n * e;
    total_squares[i] += static_cast<double>(squares[i]) + e * (2 * d + n * e);
  }
}

}  // namespace

// A column of a block is summed relative to a shift s: of d = x - s, the sums D of d and Q of d^2.
// Relative to a reference t that all blocks of a channel share, e = s - t, the sums over the n rows
// are D + n e and Q + 2 e D + n e^2. With these added up,
//
//   mean = t + sum / m,    var = (squares - sum^2 / m) / m
//
// Cancellation does not grow with the mean. The shift is the mean of 8 of the values (as a rule),
// so (s - mean)^2 is at most an 8th of the sum of squared deviations and Q is at most 1 + 32 / 8 =
// 5 times that sum, typically 1 + 1 / 8. The reference is one of the values, which costs a factor
// of m of f64's precision at most.
void batch_norm_statistics(const Tensor& x, double eps, const Tensor& mean, const Tensor& var,
                           const Tensor& rstd) {
  visit_stored(x.dtype(), "batch_norm", [&]<class S, class T>() {
    const std::int64_t c = mean.numel(), rows = x.numel() / c;
    const S* const from = x.data<const S>();
    const auto sum_block = [&](const Block& block, T* scratch, double* totals) {
      T* const shift = scratch;
      T* const sum = shift + block.width;
      T* const squares = sum + block.width;
      choose_shift(from + block.offset, block, shift);
      std::fill(sum, squares + block.width, T(0));
      for_rows_of(block, [&]<int kRows>(std::int64_t offset) {
        add_deviations<kRows>(from + offset, shift, block.width, sum, squares);
      });
      for (std::int64_t i = 0; i < block.width; i += c) {
        add_shifted(sum + i, squares + i, shift + i, from, static_cast<double>(block.rows), c,
                    totals, totals + c);
      }
    };
    const std::vector<double> sums = column_sums<T>(rows, c, sum_block);
    const auto m = static_cast<double>(rows);
    const functors::ChannelStatistics<T> out{static_cast<T>(eps), mean.data<T>(), var.data<T>(),
                                             rstd.data<T>()};
    for (std::int64_t i = 0; i < c; ++i) {
      out.store(i, functors::moments_of(static_cast<double>(from[i]), sums[i], sums[c + i], m));
    }
  });
}

void running_average(const Tensor& batch, double factor, double momentum, const Tensor& running) {
  visit_stored(running.dtype(), "batch_norm", [&]<class S, class T>() {
    elementwise<S, S, T>(running, functors::RunningAverage<T>(momentum, factor), running, batch);
  });
}

void batch_norm(const BatchNormInput& in, const Tensor& residual, const Tensor& out) {
  visit_stored(in.x.dtype(), "batch_norm", [&]<class S, class T>() {
    const std::int64_t c = in.mean.numel(), rows = in.x.numel() / c;
    const Affine<T> affine(functors::BatchNormChannels<T>(in), c);
    const auto run = [&](const auto& finish) {
      for_row_runs(rows, c, [&](std::int64_t offset, std::int64_t width) {
        const T* const __restrict m = affine.centre.data();
        const T* const __restrict s = affine.scale.data();
        const T* const __restrict b = affine.shift.data();
        const S* const __restrict v = in.x.data<const S>() + offset;
        S* const __restrict y = out.data<S>() + offset;
        for (std::int64_t i = 0; i < width; ++i) {
          y[i] = S(finish((v[i] - m[i]) * s[i] + b[i], offset + i));
        }
      });
    };
    const functors::Relu relu;
    if (!in.relu) {
      run([](T y, std::int64_t) { return y; });
    } else if (!residual.defined()) {
      run([relu](T y, std::int64_t) { return relu(y); });
    } else {
      run([relu, r = residual.data<const S>()](T y, std::int64_t at) { return relu(y + r[at]); });
    }
  });
}

namespace {

using functors::Mask;

template <class F>
void visit_mask(Mask mask, const F& f) {
  switch (mask) {
    case Mask::none:
      return f.template operator()<Mask::none>();
    case Mask::from_x:
      return f.template operator()<Mask::from_x>();
    case Mask::from_y:
      return f.template operator()<Mask::from_y>();
  }
}

template <class T>
void add_to_totals(const T* sums, std::int64_t c, double* __restrict totals) {
  for (std::int64_t i = 0; i < c; ++i) totals[i] += static_cast<double>(sums[i]);
}

/// Adds kRows rows of g, masked, and of g (x - mean) to the sums of their columns; the rows begin
/// at `offset`. Mask::from_y reads y and writes the masked rows; others leave both alone.
template <Mask kMask, int kRows, class S, class T>
void add_gradients(const Affine<T>& affine, const S* gradient, const S* x, const S* y,
                   std::int64_t offset, std::int64_t width, S* __restrict masked, T* __restrict sum,
                   T* __restrict products) {
  const T* const m = affine.centre.data();
  const T* const s = affine.scale.data();
  const T* const b = affine.shift.data();
  for (std::int64_t i = 0; i < width; ++i) {
    T total = 0, total_products = 0;
    for (int k = 0; k < kRows; ++k) {
      const std::int64_t at = offset + k * width + i;
      const T d = x[at] - m[i];
      T g = gradient[at];
      if constexpr (kMask == Mask::from_x) g = d * s[i] + b[i] > 0 ? g : 0;
      if constexpr (kMask == Mask::from_y) {
        g = y[at] > 0 ? g : 0;
        masked[at] = S(g);
      }
      total += g;
      total_products += g * d;
    }
    sum[i] += total;
    products[i] += total_products;
  }
}

}  // namespace

// With s = (x - mean) rstd: db = sum(g), dw = sum(g s), dx = w rstd (g - db / m - s dw / m), where
// g is the masked gradient. The first pass makes the two sums, and writes g if it is the residual's
// gradient; the second makes dx.
void batch_norm_backward(const BatchNormInput& in, const Tensor& y, const Tensor& gradient,
                         const BatchNormGradients& out) {
  visit_stored(in.x.dtype(), "batch_norm_backward", [&]<class S, class T>() {
    const std::int64_t c = in.mean.numel(), rows = in.x.numel() / c;
    const Affine<T> affine(functors::BatchNormChannels<T>(in), c);
    const T* const r = in.rstd.data<const T>();
    const Mask mask = !in.relu ? Mask::none : y.defined() ? Mask::from_y : Mask::from_x;

    std::vector<double> sums;
    visit_mask(mask, [&]<Mask kMask>() {
      const S* const outputs = kMask == Mask::from_y ? y.data<const S>() : nullptr;
      S* const masked = kMask == Mask::from_y ? out.residual.data<S>() : nullptr;
      const auto sum_block = [&](const Block& block, T* scratch, double* totals) {
        T* const sum = scratch;
        T* const products = sum + block.width;
        std::fill(sum, products + block.width, T(0));
        for_rows_of(block, [&]<int kRows>(std::int64_t offset) {
          add_gradients<kMask, kRows>(affine, gradient.data<const S>(), in.x.data<const S>(),
                                      outputs, offset, block.width, masked, sum, products);
        });
        for (std::int64_t i = 0; i < block.width; i += c) {
          add_to_totals(sum + i, c, totals);
          add_to_totals(products + i, c, totals + c);
        }
      };
      sums = column_sums<T>(rows, c, sum_block);
    });

    const auto m = static_cast<double>(rows);
    for (std::int64_t i = 0; i < c; ++i) {
      out.bias.data<T>()[i] = static_cast<T>(sums[i]);
      out.weight.data<T>()[i] = static_cast<T>(sums[c + i] * r[i]);
    }
    if (!out.x.defined()) return;
    // dx = scale (g - offset - (x - mean) slope)
    const ChannelTable<T> offsets(c, [&](std::int64_t i) { return sums[i] / m; });
    const ChannelTable<T> slopes(c, [&](std::int64_t i) { return sums[c + i] * r[i] * r[i] / m; });
    const S* const from = (mask == Mask::from_y ? out.residual : gradient).data<const S>();
    visit_mask(mask == Mask::from_y ? Mask::none : mask, [&]<Mask kMask>() {
      for_row_runs(rows, c, [&](std::int64_t offset, std::int64_t width) {
        const S* const __restrict g = from + offset;
        const S* const __restrict v = in.x.data<const S>() + offset;
        S* const __restrict to = out.x.data<S>() + offset;
        const T* const __restrict centre = affine.centre.data();
        const T* const __restrict s = affine.scale.data();
        const T* const __restrict b = affine.shift.data();
        const T* const __restrict a = offsets.data();
        const T* const __restrict slope = slopes.data();
        for (std::int64_t i = 0; i < width; ++i) {
          const T d = v[i] - centre[i];
          T gi = g[i];
          if constexpr (kMask == Mask::from_x) gi = d * s[i] + b[i] > 0 ? gi : 0;
          to[i] = S(functors::batch_norm_dx(s[i], gi, a[i], d, slope[i]));
        }
      });
    });
  });
}

namespace {

template <class F>
void for_rows(const Tensor& x, const F& f) {
  const std::int64_t columns = x.shape()[1];
  parallel_for(x.shape()[0], std::max<std::int64_t>(kGrain / columns, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) f(row, columns);
               });
}

}  // namespace

void layer_norm(const Tensor& x, double eps, const Tensor& out, const Tensor& mean,
                const Tensor& rstd) {
  visit_real(x.dtype(), "layer_norm", [&]<class T>() {
    for_rows(x, [&](std::int64_t row, std::int64_t n) {
      const T* const v = x.data<const T>() + row * n;
      T* const y = out.data<T>() + row * n;
      const double mu =
          sum_in_lanes(n, [&](std::int64_t i) { return v[i]; }) / static_cast<double>(n);
      const double var = sum_in_lanes(n,
                                      [&](std::int64_t i) {
                                        const double d = static_cast<double>(v[i]) - mu;
                                        return d * d;
                                      }) /
                         static_cast<double>(n);
      const auto m = static_cast<T>(mu), r = static_cast<T>(1 / std::sqrt(var + eps));
      for (std::int64_t i = 0; i < n; ++i) y[i] = (v[i] - m) * r;
      mean.data<T>()[row] = m;
      rstd.data<T>()[row] = r;
    });
  });
}

// With s = (x - mean) rstd: dx = rstd (g - mean(g) - s mean(g s)).
void layer_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                         const Tensor& rstd, const Tensor& out) {
  visit_real(x.dtype(), "layer_norm_backward", [&]<class T>() {
    for_rows(x, [&](std::int64_t row, std::int64_t n) {
      const T* const v = x.data<const T>() + row * n;
      const T* const g = gradient.data<const T>() + row * n;
      T* const dx = out.data<T>() + row * n;
      const T m = mean.data<const T>()[row], r = rstd.data<const T>()[row];
      const auto size = static_cast<double>(n);
      const auto a = static_cast<T>(sum_in_lanes(n, [&](std::int64_t i) { return g[i]; }) / size);
      const auto b = static_cast<T>(sum_in_lanes(n,
                                                 [&](std::int64_t i) {
                                                   return static_cast<double>(g[i]) *
                                                          static_cast<double>((v[i] - m) * r);
                                                 }) /
                                    size);
      for (std::int64_t i = 0; i < n; ++i) dx[i] = r * (g[i] - a - (v[i] - m) * r * b);
    });
  });
}

}  // namespace invar::cpu
