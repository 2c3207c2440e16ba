#pragma once
// The maths of optimisers for one element, for CPU and GPU alike.
#include <cmath>
#include <invar/core/host_device.hpp>
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

}  // namespace invar::functors
