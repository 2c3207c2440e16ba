// Kernels that work on one line of a tensor at a time: its elements along one dimension.
#include <algorithm>
#include <cmath>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/lanes.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/reduce.hpp>
#include <invar/ops/functors/unary.hpp>
#include <vector>

namespace invar::cpu {
namespace {

template <class T>
struct Line {
  T* begin;
  std::int64_t step;
  T& operator[](std::int64_t i) const { return begin[i * step]; }
};

/// Calls f(offsets of the line's first element in each tensor) for every line along `dim`. The
/// tensors agree in all other dimensions.
template <std::size_t N, class F>
void for_each_line(const std::array<std::reference_wrapper<const Tensor>, N>& tensors, int dim,
                   const F& f) {
  Dims shape = tensors[0].get().shape();
  const std::int64_t length = shape.empty() ? 1 : shape[dim];
  std::array<Dims, N> strides;
  for (std::size_t k = 0; k < N; ++k) strides[k] = tensors[k].get().strides();
  if (!shape.empty()) {
    shape.erase(dim);
    for (Dims& s : strides) s.erase(dim);
  }
  const std::int64_t lines = numel_of(shape);
  if (lines == 0) return;
  const LoopNest<N> nest(shape, strides);
  parallel_for(lines, std::max<std::int64_t>(kGrain / std::max<std::int64_t>(length, 1), 1),
               [&](std::int64_t begin, std::int64_t end) {
                 nest.run(begin, end, [&](std::array<std::int64_t, N> at, std::int64_t count) {
                   for (std::int64_t i = 0; i < count; ++i) {
                     f(at);
                     for (std::size_t k = 0; k < N; ++k) at[k] += nest.strides[k].back();
                   }
                 });
               });
}

std::int64_t length_along(const Tensor& x, int dim) { return x.dim() == 0 ? 1 : x.shape()[dim]; }

template <class T>
Line<T> line_of(const Tensor& x, int dim, std::int64_t offset) {
  return {x.data<T>() + offset, x.dim() == 0 ? 1 : x.strides()[dim]};
}

/// a < b with NaN after every number.
template <class T>
bool is_less(T a, T b) {
  return a < b || (b != b && a == a);
}

/// From and To: Lines, or pointers to T, which makes vector instructions of the loops.
template <class From, class To>
void softmax_line(bool log, std::int64_t n, const From& from, const To& to) {
  using T = std::remove_cvref_t<decltype(to[0])>;
  const functors::Max<T> max;
  const T largest = fold_in_lanes(
      n, max.identity(), [&](T& m, std::int64_t i) { max.add(m, from[i], 0); },
      [&](T& m, T other) { max.merge(m, other); });
  for (std::int64_t i = 0; i < n; ++i) to[i] = functors::Exp()(from[i] - largest);
  const double total = sum_in_lanes(n, [&](std::int64_t i) { return to[i]; });
  if (log) {
    const double shift = std::log(total);
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = static_cast<T>(static_cast<double>(from[i] - largest) - shift);
    }
  } else {
    const T scale = static_cast<T>(1 / total);
    for (std::int64_t i = 0; i < n; ++i) to[i] *= scale;
  }
}

}  // namespace

void arg_reduce(ReduceOp op, const Tensor& x, int dim, const Tensor& values,
                const Tensor& indices) {
  if (x.dtype() == DType::bf16) {
    return round_into(values,
                      [&](const Tensor& y) { arg_reduce(op, widened(x), dim, y, indices); });
  }
  const std::int64_t n = length_along(x, dim);
  visit_number(x.dtype(), "arg_reduce", [&]<class T>() {
    for_each_line<3>({x, values, indices}, dim, [&](const std::array<std::int64_t, 3>& at) {
      const Line<const T> line = line_of<const T>(x, dim, at[0]);
      T best = line[0];
      std::int64_t where = 0;
      for (std::int64_t i = 1; i < n && best == best; ++i) {
        const T v = line[i];
        if ((op == ReduceOp::max ? v > best : v < best) || v != v) {
          best = v;
          where = i;
        }
      }
      values.data<T>()[at[1]] = best;
      indices.data<std::int64_t>()[at[2]] = where;
    });
  });
}

void sort(const Tensor& x, int dim, bool descending, const Tensor& values, const Tensor& indices) {
  if (x.dtype() == DType::bf16) {
    return round_into(values,
                      [&](const Tensor& y) { sort(widened(x), dim, descending, y, indices); });
  }
  const std::int64_t n = length_along(x, dim), wanted = length_along(values, dim);
  visit_number(x.dtype(), "sort", [&]<class T>() {
    struct Item {
      T value;
      std::int64_t index;
    };
    // A total order: any sort that follows it is stable.
    const auto before = [descending](const Item& a, const Item& b) {
      if (is_less(a.value, b.value)) return !descending;
      if (is_less(b.value, a.value)) return descending;
      return a.index < b.index;
    };
    for_each_line<3>({x, values, indices}, dim, [&](const std::array<std::int64_t, 3>& at) {
      const Line<const T> line = line_of<const T>(x, dim, at[0]);
      std::vector<Item> items(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i) items[static_cast<std::size_t>(i)] = {line[i], i};
      if (wanted < n) {
        std::partial_sort(items.begin(), items.begin() + wanted, items.end(), before);
      } else {
        std::sort(items.begin(), items.end(), before);
      }
      const Line<T> to = line_of<T>(values, dim, at[1]);
      const Line<std::int64_t> to_index = line_of<std::int64_t>(indices, dim, at[2]);
      for (std::int64_t i = 0; i < wanted; ++i) {
        to[i] = items[static_cast<std::size_t>(i)].value;
        to_index[i] = items[static_cast<std::size_t>(i)].index;
      }
    });
  });
}

void cumsum(const Tensor& x, int dim, bool reverse, const Tensor& out) {
  if (x.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { cumsum(widened(x), dim, reverse, y); });
  }
  const std::int64_t n = length_along(x, dim);
  visit_number(x.dtype(), "cumsum", [&]<class T>() {
    for_each_line<2>({x, out}, dim, [&](const std::array<std::int64_t, 2>& at) {
      const Line<const T> from = line_of<const T>(x, dim, at[0]);
      const Line<T> to = line_of<T>(out, dim, at[1]);
      functors::Accumulator<T> total = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t i = reverse ? n - 1 - k : k;
        total += static_cast<functors::Accumulator<T>>(from[i]);
        to[i] = static_cast<T>(total);
      }
    });
  });
}

void softmax(const Tensor& x, int dim, bool log, const Tensor& out) {
  if (x.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { softmax(widened(x), dim, log, y); });
  }
  const std::int64_t n = length_along(x, dim);
  visit_real(x.dtype(), "softmax", [&]<class T>() {
    for_each_line<2>({x, out}, dim, [&](const std::array<std::int64_t, 2>& at) {
      const Line<const T> from = line_of<const T>(x, dim, at[0]);
      const Line<T> to = line_of<T>(out, dim, at[1]);
      if (from.step == 1 && to.step == 1) {
        softmax_line(log, n, from.begin, to.begin);
      } else {
        softmax_line(log, n, from, to);
      }
    });
  });
}

}  // namespace invar::cpu
