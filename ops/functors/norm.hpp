#pragma once
// Normalisation, for CPU and GPU alike: the formulas, and the functors that are the GPU's kernels.
//
// Data may be bf16 (S is what it is stored as, Computed<S> what it is computed in); statistics,
// parameters and sums are not.
#include <cmath>
#include <invar/core/integers.hpp>
#include <invar/ops/functors/stored.hpp>
#include <invar/ops/kernels.hpp>

namespace invar::functors {

/// A channel of x [..., C] becomes (x - centre) scale + shift.
template <class T>
struct BatchNormChannels {
  const T *mean, *rstd, *weight, *bias;

  explicit BatchNormChannels(const BatchNormInput& in)
      : mean(in.mean.data<const T>()),
        rstd(in.rstd.data<const T>()),
        weight(in.weight.defined() ? in.weight.data<const T>() : nullptr),
        bias(in.bias.defined() ? in.bias.data<const T>() : nullptr) {}

  INVAR_HD T centre(std::int64_t c) const { return mean[c]; }
  INVAR_HD T scale(std::int64_t c) const { return weight ? weight[c] * rstd[c] : rstd[c]; }
  INVAR_HD T shift(std::int64_t c) const { return bias ? bias[c] : T(0); }
};

/// Mean and biased variance from m values less a reference, of which these are the sums.
struct Moments {
  double mean, var;
};
INVAR_HD inline Moments moments_of(double reference, double sum, double squares, double m) {
  const double d = sum / m, v = squares / m - d * d;
  return {reference + d, v < 0 ? 0 : v};
}

/// scale (g - a - d slope) with d = x - mean, a = mean of g, slope = rstd^2 mean of g d
template <class T>
INVAR_HD T batch_norm_dx(T scale, T g, T a, T d, T slope) {
  return scale * (g - a - d * slope);
}

/// V elements that lie side by side and are read at once.
template <class S, int V>
struct alignas(V * sizeof(S)) Pack {
  S values[V];
};

/// `rows` packs from x on, `stride` apart. All are read before the first is used: a GPU waits for
/// memory once.
template <int V, int kRows, class S>
INVAR_HD void read_packs(const S* x, std::int64_t at, std::int64_t stride, std::int64_t rows,
                         Pack<S, V> (&packs)[kRows]) {
  const auto* const from = reinterpret_cast<const Pack<S, V>*>(x) + at;
  for (int r = 0; r < kRows; ++r) {
    if (r < rows) packs[r] = from[r * stride];
  }
}

// --- statistics: folds (fold.hpp). Sums are f64: memory, not arithmetic, limits them on GPUs made
// for computing. Values are taken less the first of their output, so that a mean far from 0 costs
// no accuracy.

struct TwoSums {
  double a = 0, b = 0;
};

/// F's sums of two numbers per value.
struct TwoSumsFold {
  using State = TwoSums;
  INVAR_HD State identity() const { return {}; }
  INVAR_HD void merge(State& s, const State& other) const {
    s.a += other.a;
    s.b += other.b;
  }
};

template <class S>
struct MomentSums : TwoSumsFold {
  const S* x;
  std::int64_t first;  ///< output j's first value is x[first j]
  double count;        ///< of values per output

  INVAR_HD MomentSums(const S* values, std::int64_t first_of, double values_each)
      : x(values), first(first_of), count(values_each) {}
  INVAR_HD void add(TwoSums& s, std::int64_t at, std::int64_t j, std::int64_t) const {
    const double d = static_cast<double>(widen(x[at])) - reference(j);
    s.a += d;
    s.b += d * d;
  }
  INVAR_HD Moments moments(std::int64_t j, const TwoSums& s) const {
    return moments_of(reference(j), s.a, s.b, count);
  }
  INVAR_HD double reference(std::int64_t j) const {
    return static_cast<double>(widen(x[first * j]));
  }
};

/// What batch_norm_statistics leaves of a channel.
template <class T>
struct ChannelStatistics {
  T eps;
  T *mean, *var, *rstd;

  INVAR_HD void store(std::int64_t c, const Moments& moments) const {
    mean[c] = static_cast<T>(moments.mean);
    var[c] = static_cast<T>(moments.var);
    rstd[c] = T(1) / std::sqrt(var[c] + eps);
  }
};

/// Of the channels of x [rows, channels]: a PackedFold.
template <class S>
struct ChannelMoments : MomentSums<S> {
  ChannelStatistics<Computed<S>> out;

  INVAR_HD ChannelMoments(const MomentSums<S>& sums, const ChannelStatistics<Computed<S>>& to)
      : MomentSums<S>(sums), out(to) {}
  template <int V>
  INVAR_HD void add_packs(TwoSums* sums, std::int64_t at, std::int64_t stride, std::int64_t rows,
                          std::int64_t c) const {
    constexpr int kRows = 4;
    double reference[V];
    for (int k = 0; k < V; ++k) reference[k] = this->reference(c + k);
    for (std::int64_t i = 0; i < rows; i += kRows) {
      Pack<S, V> values[kRows];
      read_packs<V>(this->x, at + i * stride, stride, rows - i, values);
      for (int r = 0; r < kRows && r < rows - i; ++r) {
        for (int k = 0; k < V; ++k) {
          const double d = static_cast<double>(widen(values[r].values[k])) - reference[k];
          sums[k].a += d;
          sums[k].b += d * d;
        }
      }
    }
  }
  INVAR_HD void store(std::int64_t j, const TwoSums& s) const { out.store(j, this->moments(j, s)); }
};

/// (1 - momentum) running + momentum factor batch
template <class T>
struct RunningAverage {
  T keep, take, factor;

  RunningAverage(double momentum, double f)
      : keep(static_cast<T>(1 - momentum)),
        take(static_cast<T>(momentum)),
        factor(static_cast<T>(f)) {}
  template <class S>
  INVAR_HD S operator()(S running, T batch) const {
    return convert<S>(widen(running) * keep + batch * factor * take);
  }
};

/// Of the rows of x.
template <class T>
struct RowMoments : MomentSums<T> {
  double eps;
  T *mean, *rstd;

  INVAR_HD RowMoments(const MomentSums<T>& sums, double e, T* m, T* r)
      : MomentSums<T>(sums), eps(e), mean(m), rstd(r) {}
  INVAR_HD void store(std::int64_t j, const TwoSums& s) const {
    const Moments moments = this->moments(j, s);
    mean[j] = static_cast<T>(moments.mean);
    rstd[j] = static_cast<T>(1 / std::sqrt(moments.var + eps));
  }
};

// --- batch-norm over dense [rows, channels]

/// How dense [rows, channels] are shared out: a thread has V channels of every `down`-th row, so
/// that it reads what it needs of its channels once. Neighbours have neighbouring channels.
template <int V>
struct ChannelThreads {
  std::int64_t rows, across, down;

  ChannelThreads(std::int64_t row_count, std::int64_t channels)
      : rows(row_count), across(channels / V) {
    constexpr std::int64_t kBusy = 1 << 17;  // threads that keep a large GPU busy
    const std::int64_t each = rows * across >= 16 * kBusy ? 16 : 4;
    down = ceil_div(rows, each);
  }
  std::int64_t count() const { return across * down; }

  /// The first channel of thread i.
  INVAR_HD std::int64_t channel(std::int64_t i) const { return i % across * V; }
  /// Calls f(pack) for its packs of V elements.
  template <class F>
  INVAR_HD void for_packs(std::int64_t i, const F& f) const {
    for (std::int64_t row = i / across; row < rows; row += down) f(row * across + i % across);
  }
};

/// out = z = (x - mean) rstd weight + bias, or max(z + residual, 0), a thread's part of it.
template <class S, int V>
struct BatchNormForward {
  using T = Computed<S>;
  BatchNormChannels<T> channels;
  ChannelThreads<V> threads;
  bool relu;
  const Pack<S, V>*x, *residual;  ///< residual may be null
  Pack<S, V>* out;

  INVAR_HD void operator()(std::int64_t i) const {
    T centre[V], scale[V], shift[V];
    for (int k = 0; k < V; ++k) {
      const std::int64_t c = threads.channel(i) + k;
      centre[k] = channels.centre(c);
      scale[k] = channels.scale(c);
      shift[k] = channels.shift(c);
    }
    threads.for_packs(i, [&](std::int64_t at) {
      const Pack<S, V> v = x[at];
      Pack<S, V> y, r{};
      if (residual) r = residual[at];
      for (int k = 0; k < V; ++k) {
        T z = (widen(v.values[k]) - centre[k]) * scale[k] + shift[k];
        if (relu) {
          if (residual) z += widen(r.values[k]);
          z = z < T(0) ? T(0) : z;
        }
        y.values[k] = convert<S>(z);
      }
      out[at] = y;
    });
  }
};

/// Where the gradient g of a batch-norm's output passes.
enum class Mask {
  none,    ///< everywhere
  from_x,  ///< where relu let the output pass, which x tells: cheaper than to read y as well
  from_y,  ///< likewise, but a residual had a say in it: y tells
};

/// The sums of g, masked, and of g (x - mean): a PackedFold. Mask::from_y reads y and writes the
/// masked g; others leave both alone. What the sums give: the gradients of bias and weight, and the
/// a and slope of batch_norm_dx.
template <class S>
struct BatchNormGradientSums : TwoSumsFold {
  using T = Computed<S>;
  BatchNormChannels<T> channels;
  Mask mask;
  double rows;
  const S *x, *y, *gradient;
  S* masked;
  T *bias, *weight, *a, *slope;

  explicit BatchNormGradientSums(const BatchNormInput& in) : channels(in) {}
  template <int V>
  INVAR_HD void add_packs(TwoSums* sums, std::int64_t at, std::int64_t stride, std::int64_t count,
                          std::int64_t c) const {
    constexpr int kRows = 2;
    T centre[V], scale[V], shift[V];
    for (int k = 0; k < V; ++k) {
      centre[k] = channels.centre(c + k);
      scale[k] = channels.scale(c + k);
      shift[k] = channels.shift(c + k);
    }
    for (std::int64_t i = 0; i < count; i += kRows) {
      const std::int64_t first = at + i * stride, left = count - i;
      Pack<S, V> xs[kRows], gs[kRows], ys[kRows];
      read_packs<V>(x, first, stride, left, xs);
      read_packs<V>(gradient, first, stride, left, gs);
      if (mask == Mask::from_y) read_packs<V>(y, first, stride, left, ys);
      for (int r = 0; r < kRows && r < left; ++r) {
        for (int k = 0; k < V; ++k) {
          const T d = widen(xs[r].values[k]) - centre[k];
          T g = widen(gs[r].values[k]);
          if (mask == Mask::from_x) g = d * scale[k] + shift[k] > 0 ? g : 0;
          if (mask == Mask::from_y) g = widen(ys[r].values[k]) > 0 ? g : 0;
          gs[r].values[k] = convert<S>(g);
          sums[k].a += static_cast<double>(g);
          sums[k].b += static_cast<double>(g) * static_cast<double>(d);
        }
        if (mask == Mask::from_y) reinterpret_cast<Pack<S, V>*>(masked)[first + r * stride] = gs[r];
      }
    }
  }
  INVAR_HD void store(std::int64_t j, const TwoSums& s) const {
    const auto r = static_cast<double>(channels.rstd[j]);
    bias[j] = static_cast<T>(s.a);
    weight[j] = static_cast<T>(s.b * r);
    a[j] = static_cast<T>(s.a / rows);
    slope[j] = static_cast<T>(s.b * r * r / rows);
  }
};

/// dx, a thread's part of it. With Mask::from_y the gradient is masked already.
template <class S, int V>
struct BatchNormBackward {
  using T = Computed<S>;
  BatchNormChannels<T> channels;
  ChannelThreads<V> threads;
  Mask mask;
  const Pack<S, V>*x, *gradient;
  const T *a, *slope;
  Pack<S, V>* out;

  INVAR_HD void operator()(std::int64_t i) const {
    T centre[V], scale[V], shift[V], mean_g[V], slopes[V];
    for (int k = 0; k < V; ++k) {
      const std::int64_t c = threads.channel(i) + k;
      centre[k] = channels.centre(c);
      scale[k] = channels.scale(c);
      shift[k] = channels.shift(c);
      mean_g[k] = a[c];
      slopes[k] = slope[c];
    }
    threads.for_packs(i, [&](std::int64_t at) {
      const Pack<S, V> v = x[at], g = gradient[at];
      Pack<S, V> dx;
      for (int k = 0; k < V; ++k) {
        const T d = widen(v.values[k]) - centre[k];
        T gk = widen(g.values[k]);
        if (mask == Mask::from_x) gk = d * scale[k] + shift[k] > 0 ? gk : 0;
        dx.values[k] = convert<S>(batch_norm_dx(scale[k], gk, mean_g[k], d, slopes[k]));
      }
      out[at] = dx;
    });
  }
};

// --- layer-norm over dense [rows, columns]; mean, rstd, a and b are of an element's row

struct Standardize {
  template <class T>
  INVAR_HD T operator()(T x, T mean, T rstd) const {
    return (x - mean) * rstd;
  }
};

/// The means a of g and b of g s: a fold.
template <class T>
struct LayerNormGradientSums : TwoSumsFold {
  double columns;
  const T *x, *gradient, *mean, *rstd;
  T *a, *b;

  INVAR_HD void add(TwoSums& sums, std::int64_t at, std::int64_t j, std::int64_t) const {
    const T s = Standardize()(x[at], mean[j], rstd[j]);
    sums.a += static_cast<double>(gradient[at]);
    sums.b += static_cast<double>(gradient[at]) * static_cast<double>(s);
  }
  INVAR_HD void store(std::int64_t j, const TwoSums& sums) const {
    a[j] = static_cast<T>(sums.a / columns);
    b[j] = static_cast<T>(sums.b / columns);
  }
};

struct LayerNormBackward {
  template <class T>
  INVAR_HD T operator()(T g, T x, T mean, T rstd, T a, T b) const {
    return rstd * (g - a - (x - mean) * rstd * b);
  }
};

}  // namespace invar::functors
