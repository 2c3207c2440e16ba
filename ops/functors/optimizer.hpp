#pragma once
// The maths of optimisers for one element, for CPU and GPU alike.
#include <algorithm>
#include <cmath>
#include <invar/core/host_device.hpp>
#include <invar/core/integers.hpp>
#include <invar/ops/optimizer.hpp>

namespace invar::functors {

/// What LARS makes of d = g + weight_decay p: scale d; without `decays` d is g alone.
struct TrustRatio {
  double scale = 1;
  bool decays = true;
};

/// From the squared norms of lars_norms.
///
///   official (facebookresearch/vicreg)   q = eta |p| / |d|;  1 if a norm is 0
///   clipped (solo-learn)                 q = min(eta |p| / (|g| + wd |p| + 1e-8) / lr, 1);
///                                        no decay and no scaling if a norm is 0
INVAR_HD inline TrustRatio trust_ratio(const SgdStep& s, double p_squared, double d_squared) {
  if (s.lars == LarsVariant::none) return {};
  const double p = std::sqrt(p_squared), d = std::sqrt(d_squared);
  if (s.lars == LarsVariant::official) return {p > 0 && d > 0 ? s.eta * p / d : 1.0, true};
  if (!(p > 0 && d > 0)) return {1, false};
  // A rate of 0 gives an infinite ratio, which the minimum turns into 1.
  const double q = s.eta * p / (d + p * s.weight_decay + 1e-8) / s.lr;
  return {q < 1 ? q : 1.0, true};
}

template <class T>
struct SgdUpdate {
  T lr, decay, scale, momentum, fresh, nesterov;
  bool has_nesterov;

  INVAR_HD SgdUpdate(const SgdStep& s, TrustRatio ratio)
      : lr(static_cast<T>(s.lr)),
        decay(static_cast<T>(ratio.decays ? s.weight_decay : 0)),
        scale(static_cast<T>(ratio.scale)),
        momentum(static_cast<T>(s.first ? 0 : s.momentum)),
        fresh(static_cast<T>(s.first ? 1 : 1 - s.dampening)),
        nesterov(static_cast<T>(s.momentum)),
        has_nesterov(s.nesterov) {}

  INVAR_HD void operator()(T& p, T g) const { p -= lr * (scale * (g + decay * p)); }
  INVAR_HD void operator()(T& p, T g, T& m) const {
    const T d = scale * (g + decay * p);
    m = momentum * m + fresh * d;
    p -= lr * (has_nesterov ? d + nesterov * m : m);
  }
};

template <class T>
struct AdamUpdate {
  T shrink, decay, beta1_rest, beta2, beta2_rest, step_size, correction, eps;

  AdamUpdate() = default;
  INVAR_HD explicit AdamUpdate(const AdamStep& s)
      : shrink(static_cast<T>(s.decoupled ? 1 - s.lr * s.weight_decay : 1)),
        decay(static_cast<T>(s.decoupled ? 0 : s.weight_decay)),
        beta1_rest(static_cast<T>(1 - s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        beta2_rest(static_cast<T>(1 - s.beta2)),
        step_size(static_cast<T>(s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.count))))),
        correction(static_cast<T>(std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.count))))),
        eps(static_cast<T>(s.eps)) {}

  INVAR_HD void operator()(T& p, T g, T& m, T& v) const {
    p *= shrink;
    g += decay * p;
    m += beta1_rest * (g - m);
    v = beta2 * v + beta2_rest * (g * g);
    p -= step_size * (m / (std::sqrt(v) / correction + eps));
  }
};

template <class T>
struct Lerp {
  T weight;
  INVAR_HD void operator()(T& x, T y) const { x += weight * (y - x); }
};

// --- an entry of a list of tensors: what a GPU is given for it. update() makes, once per thread,
// what at(i, ...) does to element i.

template <class T>
struct SgdEntry {
  T* parameter;
  const T* gradient;
  T* momentum;  ///< may be null
  std::int64_t count;
  SgdStep step;
  const double *parameter_norm, *update_norm;  ///< squared, may be null

  INVAR_HD SgdUpdate<T> update() const {
    return {step, parameter_norm ? trust_ratio(step, *parameter_norm, *update_norm) : TrustRatio()};
  }
  INVAR_HD void at(std::int64_t i, const SgdUpdate<T>& f) const {
    if (momentum) {
      f(parameter[i], gradient[i], momentum[i]);
    } else {
      f(parameter[i], gradient[i]);
    }
  }
};

template <class T>
struct AdamEntry {
  T* parameter;
  const T* gradient;
  T *mean, *square;
  std::int64_t count;
  AdamUpdate<T> f;

  INVAR_HD AdamUpdate<T> update() const { return f; }
  INVAR_HD void at(std::int64_t i, const AdamUpdate<T>& f) const {
    f(parameter[i], gradient[i], mean[i], square[i]);
  }
};

template <class T>
struct LerpEntry {
  T* x;
  const T* y;
  std::int64_t count;
  Lerp<T> f;

  INVAR_HD Lerp<T> update() const { return f; }
  INVAR_HD void at(std::int64_t i, const Lerp<T>& f) const { f(x[i], y[i]); }
};

template <class T>
struct SquaredNormEntry {
  const T *x, *y;  ///< y may be null
  std::int64_t count;
  T factor;
  double* out;

  /// (x + factor y)^2
  INVAR_HD double at(std::int64_t i) const {
    const auto value = static_cast<double>(y ? x[i] + factor * y[i] : x[i]);
    return value * value;
  }
};

/// As many entries as the arguments of a kernel hold. Their elements are cut into blocks, each of
/// one entry; in a block thread t has the elements t, t + kThreads, ...
template <class Entry>
struct Batch {
  static constexpr int kMost = static_cast<int>(3600 / (sizeof(Entry) + sizeof(int)));
  static constexpr std::int64_t kThreads = 256, kElements = 16 * kThreads;
  Entry entries[kMost];
  int first_block[kMost + 1];  ///< of each entry, and how many there are
  int size;

  std::int64_t blocks() const { return first_block[size]; }

  /// Takes the first entries of a list.
  void fill(const Entry* list, std::size_t count) {
    size = static_cast<int>(std::min<std::size_t>(kMost, count));
    first_block[0] = 0;
    for (int k = 0; k < size; ++k) {
      entries[k] = list[k];
      const std::int64_t blocks = ceil_div(list[k].count, kElements);
      first_block[k + 1] = first_block[k] + static_cast<int>(blocks);
    }
  }

  INVAR_HD int entry_of(std::int64_t block) const {
    int k = 0;
    while (first_block[k + 1] <= block) ++k;
    return k;
  }
  /// Calls f(element) for those of the thread `index` of all blocks.
  template <class F>
  INVAR_HD void for_elements(std::int64_t index, const F& f) const {
    const std::int64_t block = index / kThreads;
    const int k = entry_of(block);
    const std::int64_t begin = (block - first_block[k]) * kElements,
                       rest = entries[k].count - begin;
    const std::int64_t end = begin + (rest < kElements ? rest : kElements);
    for (std::int64_t i = begin + index % kThreads; i < end; i += kThreads) f(i);
  }
};

template <class Entry>
struct UpdateEntries {
  Batch<Entry> batch;
  INVAR_HD void operator()(std::int64_t i) const {
    const Entry& entry = batch.entries[batch.entry_of(i / batch.kThreads)];
    const auto update = entry.update();
    batch.for_elements(i, [&](std::int64_t element) { entry.at(element, update); });
  }
};

/// Each thread's sum.
template <class Entry>
struct SumEntries {
  Batch<Entry> batch;
  double* sums;
  INVAR_HD void operator()(std::int64_t i) const {
    const Entry& entry = batch.entries[batch.entry_of(i / batch.kThreads)];
    double sum = 0;
    batch.for_elements(i, [&](std::int64_t element) { sum += entry.at(element); });
    sums[i] = sum;
  }
};

/// Entry i's result from the sums of the blocks.
template <class Entry>
struct SumBlocks {
  Batch<Entry> batch;
  const double* sums;
  INVAR_HD void operator()(std::int64_t i) const {
    double sum = 0;
    for (int b = batch.first_block[i]; b < batch.first_block[i + 1]; ++b) sum += sums[b];
    *batch.entries[i].out = sum;
  }
};

}  // namespace invar::functors
