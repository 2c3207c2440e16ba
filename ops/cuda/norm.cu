#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>

namespace invar::cuda {
namespace {

using functors::Computed;
using functors::Mask;
using functors::Pack;
using functors::visit_stored_real;

/// x [.., channels] in packs of V as a plan that folds all but the channels.
functors::FoldPlan plan_channels(const Tensor& x, std::int64_t channels, int v) {
  const std::int64_t packs = channels / v;
  const Tensor rows = alias(x, {x.numel() / channels, packs}, {packs, 1}, x.offset());
  return functors::plan_fold(rows, {1, packs});
}

/// x [rows, columns] as one that folds the columns.
functors::FoldPlan plan_rows(const Tensor& x) { return functors::plan_fold(x, {x.shape()[0], 1}); }

/// Calls f.operator()<V>(): so many elements of S, all of neighbouring channels, are accessed at
/// once. The number of channels alone decides, and with it the order of sums: see aligned().
template <class S, class F>
void visit_pack(std::int64_t channels, const F& f) {
  constexpr int kMost = 16 / sizeof(S);
  if (channels % kMost == 0) return f.template operator()<kMost>();
  f.template operator()<1>();
}

template <class S>
S* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<S>() : nullptr;
}

template <class To, class From>
To* as(From* data) {
  return reinterpret_cast<To*>(data);
}

}  // namespace

void batch_norm_statistics(const Tensor& x, double eps, const Tensor& mean, const Tensor& var,
                           const Tensor& rstd) {
  visit_stored_real(x.dtype(), "batch_norm", [&]<class S>() {
    using T = Computed<S>;
    const std::int64_t c = mean.numel(), rows = x.numel() / c;
    const Tensor values = aligned(x);
    const functors::MomentSums<S> sums(values.data<S>(), 1, static_cast<double>(rows));
    const functors::ChannelMoments<S> f(
        sums, {static_cast<T>(eps), mean.data<T>(), var.data<T>(), rstd.data<T>()});
    visit_pack<S>(c, [&]<int V>() {
      using Packed = functors::PackedFold<functors::ChannelMoments<S>, V>;
      fold("batch_norm", x, plan_channels(x, c, V), Packed{f});
    });
  });
}

void running_average(const Tensor& batch, double factor, double momentum, const Tensor& running) {
  visit_stored_real(running.dtype(), "batch_norm", [&]<class S>() {
    using T = Computed<S>;
    elementwise<S, S, T>(running, functors::RunningAverage<T>(momentum, factor), running, batch);
  });
}

void batch_norm(const BatchNormInput& in, const Tensor& residual, const Tensor& out) {
  visit_stored_real(in.x.dtype(), "batch_norm", [&]<class S>() {
    using T = Computed<S>;
    const std::int64_t c = in.mean.numel();
    const Tensor x = aligned(in.x), added = aligned(residual);
    const S* const r = data_or_null<S>(added);
    visit_pack<S>(c, [&]<int V>() {
      using P = Pack<S, V>;
      const functors::ChannelThreads<V> threads(in.x.numel() / c, c);
      const functors::BatchNormForward<S, V> f{
          functors::BatchNormChannels<T>(in), threads,        in.relu,
          as<const P>(x.data<const S>()),     as<const P>(r), as<P>(out.data<S>())};
      for_each("batch_norm", out, threads.count(), f);
    });
  });
}

void batch_norm_backward(const BatchNormInput& in, const Tensor& y, const Tensor& gradient,
                         const BatchNormGradients& out) {
  constexpr const char* kOp = "batch_norm_backward";
  visit_stored_real(in.x.dtype(), kOp, [&]<class S>() {
    using T = Computed<S>;
    const std::int64_t c = in.mean.numel();
    const Scratch<T> a(in.x, c), slope(in.x, c);
    const Mask mask = !in.relu ? Mask::none : y.defined() ? Mask::from_y : Mask::from_x;
    const Tensor x = aligned(in.x), given = aligned(gradient), output = aligned(y);

    functors::BatchNormGradientSums<S> sums(in);
    sums.mask = mask;
    sums.rows = static_cast<double>(in.x.numel() / c);
    sums.x = x.data<const S>();
    sums.y = mask == Mask::from_y ? output.data<const S>() : nullptr;
    sums.gradient = given.data<const S>();
    sums.masked = mask == Mask::from_y ? out.residual.data<S>() : nullptr;
    sums.bias = out.bias.data<T>();
    sums.weight = out.weight.data<T>();
    sums.a = a.data();
    sums.slope = slope.data();
    visit_pack<S>(c, [&]<int V>() {
      using Packed = functors::PackedFold<functors::BatchNormGradientSums<S>, V>;
      fold(kOp, x, plan_channels(x, c, V), Packed{sums});
      if (!out.x.defined()) return;
      const S* const g = (mask == Mask::from_y ? out.residual : given).data<const S>();
      using P = Pack<S, V>;
      const functors::ChannelThreads<V> threads(in.x.numel() / c, c);
      const functors::BatchNormBackward<S, V> f{functors::BatchNormChannels<T>(in),
                                                threads,
                                                mask,
                                                as<const P>(x.data<const S>()),
                                                as<const P>(g),
                                                a.data(),
                                                slope.data(),
                                                as<P>(out.x.data<S>())};
      for_each(kOp, in.x, threads.count(), f);
    });
  });
}

void layer_norm(const Tensor& x, double eps, const Tensor& out, const Tensor& mean,
                const Tensor& rstd) {
  visit_real(x.dtype(), "layer_norm", [&]<class T>() {
    const std::int64_t rows = x.shape()[0], columns = x.shape()[1];
    const functors::MomentSums<T> sums(x.data<T>(), columns, static_cast<double>(columns));
    fold("layer_norm", x, plan_rows(x),
         functors::RowMoments<T>(sums, eps, mean.data<T>(), rstd.data<T>()));
    const auto column = [&](const Tensor& t) { return alias(t, {rows, 1}, {1, 1}, t.offset()); };
    elementwise<T, T, T, T>(out, functors::Standardize(), x, column(mean), column(rstd));
  });
}

void layer_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                         const Tensor& rstd, const Tensor& out) {
  visit_real(x.dtype(), "layer_norm_backward", [&]<class T>() {
    const std::int64_t rows = x.shape()[0];
    const Tensor a = empty({rows, 1}, x.options()), b = empty_like(a);
    functors::LayerNormGradientSums<T> sums{};
    sums.columns = static_cast<double>(x.shape()[1]);
    sums.x = x.data<const T>();
    sums.gradient = gradient.data<const T>();
    sums.mean = mean.data<const T>();
    sums.rstd = rstd.data<const T>();
    sums.a = a.data<T>();
    sums.b = b.data<T>();
    fold("layer_norm_backward", x, plan_rows(x), sums);
    const auto column = [&](const Tensor& t) { return alias(t, {rows, 1}, {1, 1}, t.offset()); };
    elementwise<T, T, T, T, T, T, T>(out, functors::LayerNormBackward(), gradient, x, column(mean),
                                     column(rstd), a, b);
  });
}

}  // namespace invar::cuda
