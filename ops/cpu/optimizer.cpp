#include <cmath>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/functors/optimizer.hpp>
#include <vector>

namespace invar::cpu {
namespace {

/// f(xs[i]...) for all elements of dense arrays.
template <class F, class... T>
void for_each_element(std::int64_t n, const F& f, T*... xs) {
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(xs[i]...);
  });
}

}  // namespace

void sgd_step(const SgdStep& step, const Tensor& parameter, const Tensor& gradient,
              const Tensor& momentum, const Tensor& norms) {
  functors::TrustRatio ratio;
  if (norms.defined()) {
    const double* squares = norms.data<double>();
    ratio = functors::trust_ratio(step, squares[0], squares[1]);
  }
  visit_real(parameter.dtype(), "sgd_step_", [&]<class T>() {
    const functors::SgdUpdate<T> f(step, ratio);
    T* const p = parameter.data<T>();
    const T* const g = gradient.data<T>();
    if (momentum.defined()) {
      for_each_element(parameter.numel(), f, p, g, momentum.data<T>());
    } else {
      for_each_element(parameter.numel(), f, p, g);
    }
  });
}

void adam_step(const AdamStep& step, const Tensor& parameter, const Tensor& gradient,
               const Tensor& mean, const Tensor& square) {
  visit_real(parameter.dtype(), "adam_step_", [&]<class T>() {
    for_each_element(parameter.numel(), functors::AdamUpdate<T>(step), parameter.data<T>(),
                     static_cast<const T*>(gradient.data<T>()), mean.data<T>(), square.data<T>());
  });
}

void lerp(double weight, const Tensor& x, const Tensor& y) {
  visit_real(x.dtype(), "lerp_", [&]<class T>() {
    for_each_element(x.numel(), functors::Lerp<T>{static_cast<T>(weight)}, x.data<T>(),
                     static_cast<const T*>(y.data<T>()));
  });
}

void squared_norm(const Tensor& x, double factor, const Tensor& y, const Tensor& out) {
  double total = 0;
  visit_real(x.dtype(), "squared_norm", [&]<class T>() {
    const T* const a = x.data<T>();
    const T* const b = y.defined() ? y.data<T>() : nullptr;
    const T scale = static_cast<T>(factor);
    const std::int64_t n = x.numel();
    std::vector<double> pieces(static_cast<std::size_t>((n + kGrain - 1) / kGrain));
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
      constexpr int kLanes = 8;  // partial sums that the compiler keeps in vector registers
      double lane[kLanes] = {};
      const auto add = [&](int k, std::int64_t i) {
        const double value = static_cast<double>(b ? a[i] + scale * b[i] : a[i]);
        lane[k] += value * value;
      };
      std::int64_t i = begin;
      for (; i + kLanes <= end; i += kLanes) {
        for (int k = 0; k < kLanes; ++k) add(k, i + k);
      }
      for (; i < end; ++i) add(0, i);
      pieces[static_cast<std::size_t>(begin / kGrain)] =
          ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    });
    for (double piece : pieces) total += piece;
  });
  *out.data<double>() = total;
}

}  // namespace invar::cpu
