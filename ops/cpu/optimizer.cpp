#include <algorithm>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/lanes.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/functors/optimizer.hpp>
#include <vector>

namespace invar::cpu {
namespace {

/// A piece of one entry of a list of tensors.
struct Piece {
  std::size_t entry;
  std::int64_t begin, end;
};

/// Calls f(piece) for pieces that cover all elements of all entries, none larger than kGrain.
template <class F>
void for_pieces(const Tensors& list, const F& f) {
  std::vector<std::int64_t> starts{0};  // of the entries, in the order of all elements
  for (const Tensor& x : list) starts.push_back(starts.back() + x.numel());
  parallel_for(starts.back(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    auto next = std::upper_bound(starts.begin(), starts.end(), begin);
    for (; begin < end; ++next) {
      const std::int64_t start = *(next - 1), stop = std::min(*next, end);
      if (begin == stop) continue;  // an empty entry
      f(Piece{static_cast<std::size_t>(next - starts.begin()) - 1, begin - start, stop - start});
      begin = stop;
    }
  });
}

/// f(xs[i]...) for the elements of a piece.
template <class F, class... T>
void for_each_element(const Piece& piece, const F& f, T*... xs) {
  for (std::int64_t i = piece.begin; i < piece.end; ++i) f(xs[i]...);
}

}  // namespace

void sgd_step(std::span<const SgdStep> steps, const Tensors& parameters, const Tensors& gradients,
              const Tensors& momenta, const Tensor& norms) {
  const std::size_t n = parameters.size();
  for_pieces(parameters, [&](const Piece& piece) {
    const std::size_t i = piece.entry;
    functors::TrustRatio ratio;
    if (norms.defined()) {
      const double* squares = norms.data<double>();
      ratio = functors::trust_ratio(steps[i], squares[i], squares[n + i]);
    }
    visit_real(parameters[i].dtype(), "sgd_step_", [&]<class T>() {
      const functors::SgdUpdate<T> f(steps[i], ratio);
      T* const p = parameters[i].data<T>();
      const T* const g = gradients[i].data<T>();
      if (momenta[i].defined()) {
        for_each_element(piece, f, p, g, momenta[i].data<T>());
      } else {
        for_each_element(piece, f, p, g);
      }
    });
  });
}

void adam_step(std::span<const AdamStep> steps, const Tensors& parameters, const Tensors& gradients,
               const Tensors& means, const Tensors& squares) {
  for_pieces(parameters, [&](const Piece& piece) {
    const std::size_t i = piece.entry;
    visit_real(parameters[i].dtype(), "adam_step_", [&]<class T>() {
      for_each_element(piece, functors::AdamUpdate<T>(steps[i]), parameters[i].data<T>(),
                       static_cast<const T*>(gradients[i].data<T>()), means[i].data<T>(),
                       squares[i].data<T>());
    });
  });
}

void lerp(double weight, const Tensors& xs, const Tensors& ys) {
  for_pieces(xs, [&](const Piece& piece) {
    const Tensor &x = xs[piece.entry], &y = ys[piece.entry];
    visit_real(x.dtype(), "lerp_", [&]<class T>() {
      for_each_element(piece, functors::Lerp<T>{static_cast<T>(weight)}, x.data<T>(),
                       static_cast<const T*>(y.data<T>()));
    });
  });
}

// Pieces are cut within each entry, so that an entry's norm does not depend on its neighbours.
void squared_norms(const Tensors& xs, std::span<const double> factors, const Tensors& ys,
                   const Tensor& out) {
  std::vector<Piece> pieces;
  for (std::size_t entry = 0; entry < xs.size(); ++entry) {
    for (std::int64_t begin = 0; begin < xs[entry].numel(); begin += kGrain) {
      pieces.push_back({entry, begin, std::min(begin + kGrain, xs[entry].numel())});
    }
  }
  std::vector<double> sums(pieces.size());
  parallel_for(static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t k, std::int64_t) {
    const Piece& piece = pieces[static_cast<std::size_t>(k)];
    const Tensor &x = xs[piece.entry], &y = ys[piece.entry];
    const std::int64_t n = piece.end - piece.begin;
    const auto square = [](auto v) { return static_cast<double>(v) * static_cast<double>(v); };
    sums[static_cast<std::size_t>(k)] = visit_real(x.dtype(), "squared_norm", [&]<class T>() {
      const T* const a = x.data<const T>() + piece.begin;
      if (!y.defined()) return sum_in_lanes(n, [=](std::int64_t i) { return square(a[i]); });
      const T* const b = y.data<const T>() + piece.begin;
      const auto factor = static_cast<T>(factors[piece.entry]);
      return sum_in_lanes(n, [=](std::int64_t i) { return square(a[i] + factor * b[i]); });
    });
  });
  double* const totals = out.data<double>();
  std::fill_n(totals, xs.size(), 0.0);
  for (std::size_t k = 0; k < pieces.size(); ++k) totals[pieces[k].entry] += sums[k];
}

}  // namespace invar::cpu
