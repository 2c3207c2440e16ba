// Sums. Every sum is cut into pieces that depend on the shape only and whose results are added in
// order, so it has the same bits for any number of threads.
#include <cmath>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <vector>

namespace invar::cpu {
namespace {

/// What a sum of T is accumulated in.
template <class T>
using Accumulator = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;

/// The sum of a strided run in eight interleaved parts, which the compiler keeps in vector
/// registers.
template <class T>
Accumulator<T> sum_run(const T* x, std::int64_t n, std::int64_t stride) {
  constexpr int kLanes = 8;
  Accumulator<T> lane[kLanes] = {};
  std::int64_t i = 0;
  if (stride == 1) {
    for (; i + kLanes <= n; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) lane[k] += static_cast<Accumulator<T>>(x[i + k]);
    }
  }
  for (; i < n; ++i) lane[i % kLanes] += static_cast<Accumulator<T>>(x[i * stride]);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

}  // namespace

void sum(const Tensor& x, const Tensor& out) {
  visit_number(x.dtype(), "sum", [&]<class T>() {
    using A = Accumulator<T>;
    Dims kept_shape, kept_strides, kept_out, sum_shape, sum_strides;
    for (int d = 0; d < x.dim(); ++d) {
      const bool reduced = out.shape()[d] != x.shape()[d];
      (reduced ? sum_shape : kept_shape).push_back(x.shape()[d]);
      (reduced ? sum_strides : kept_strides).push_back(x.strides()[d]);
      if (!reduced) kept_out.push_back(out.strides()[d]);
    }
    T* const y = out.data<T>();
    if (x.numel() == 0) {
      for (std::int64_t i = 0; i < out.numel(); ++i) y[i] = T(0);
      return;
    }
    const T* const from = x.data<T>();
    const LoopNest<2> kept(kept_shape, {kept_strides, kept_out});
    const LoopNest<1> summed(sum_shape, {sum_strides});
    const std::int64_t outputs = out.numel();
    const std::int64_t terms = x.numel() / outputs;
    const int last = summed.shape.size() - 1;

    // Sums of columns: walk along rows (unit stride over the outputs), a piece of the terms at a
    // time.
    const int kept_last = kept.shape.size() - 1;
    const bool columns = terms > 1 && kept.shape.size() == 1 && kept.strides[0][kept_last] == 1 &&
                         outputs > 1 && summed.strides[0][last] != 1;
    // Piece size and count depend on the shape alone.
    const std::int64_t piece = std::max<std::int64_t>(kGrain / (columns ? outputs : 1), 64);
    const std::int64_t pieces = (terms + piece - 1) / piece;
    if (columns) {
      std::vector<A> partial(static_cast<std::size_t>(pieces * outputs), A(0));
      parallel_for(pieces, 1, [&](std::int64_t p, std::int64_t) {
        A* const acc = partial.data() + p * outputs;
        summed.run(p * piece, std::min(terms, (p + 1) * piece),
                   [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
                     for (std::int64_t i = 0; i < length; ++i) {
                       const T* row = from + at[0] + i * summed.strides[0][last];
                       for (std::int64_t j = 0; j < outputs; ++j) acc[j] += static_cast<A>(row[j]);
                     }
                   });
      });
      for (std::int64_t j = 0; j < outputs; ++j) {
        A total = 0;
        for (std::int64_t p = 0; p < pieces; ++p) total += partial[p * outputs + j];
        y[j * kept.strides[1][0]] = static_cast<T>(total);
      }
      return;
    }

    const auto sum_piece = [&](std::int64_t base, std::int64_t p) {
      A total = 0;
      summed.run(p * piece, std::min(terms, (p + 1) * piece),
                 [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
                   total += sum_run(from + base + at[0], length, summed.strides[0][last]);
                 });
      return total;
    };
    const auto for_outputs = [&](std::int64_t begin, std::int64_t end, const auto& f) {
      kept.run(begin, end, [&](const std::array<std::int64_t, 2>& at, std::int64_t length) {
        for (std::int64_t i = 0; i < length; ++i) {
          f(at[0] + i * kept.strides[0][kept_last], at[1] + i * kept.strides[1][kept_last]);
        }
      });
    };
    if (outputs == 1) {
      std::vector<A> partial(static_cast<std::size_t>(pieces));
      parallel_for(pieces, 1, [&](std::int64_t p, std::int64_t) { partial[p] = sum_piece(0, p); });
      A total = 0;
      for (const A& part : partial) total += part;
      y[0] = static_cast<T>(total);
      return;
    }
    parallel_for(outputs, std::max<std::int64_t>(kGrain / terms, 1),
                 [&](std::int64_t begin, std::int64_t end) {
                   for_outputs(begin, end, [&](std::int64_t base, std::int64_t to) {
                     A total = 0;
                     for (std::int64_t p = 0; p < pieces; ++p) total += sum_piece(base, p);
                     y[to] = static_cast<T>(total);
                   });
                 });
  });
}

bool all_finite(const Tensor& x) {
  bool finite = true;
  visit(x.dtype(), [&]<class T>() {
    const LoopNest<1> nest(x.shape(), {x.strides()});
    const std::int64_t step = nest.strides[0][nest.shape.size() - 1];
    nest.run(0, x.numel(), [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
      const T* run = x.data<T>() + at[0];
      for (std::int64_t i = 0; i < length; ++i)
        finite &= static_cast<bool>(std::isfinite(static_cast<double>(run[i * step])));
    });
  });
  return finite;
}

}  // namespace invar::cpu
