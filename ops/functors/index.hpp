#pragma once
// Indexing and sorting: the functors of one element, which are the GPU's kernels, for CPU and GPU
// alike.
#include <invar/core/dtype.hpp>
#include <invar/ops/functors/binary.hpp>
#include <invar/ops/functors/stored.hpp>
#include <invar/ops/functors/strided.hpp>

namespace invar::functors {

/// The first index, in row-major order, that is not in [0, size): a fold (fold.hpp) whose result is
/// its place and itself, or a place of -1.
struct IndexOutside {
  const std::int64_t* index;
  std::int64_t size;
  std::int64_t* out;

  struct State {
    std::int64_t place, value;
  };
  INVAR_HD State identity() const { return {-1, 0}; }
  INVAR_HD void add(State& s, std::int64_t at, std::int64_t, std::int64_t t) const {
    const std::int64_t i = index[at];
    if (i < 0 || i >= size) merge(s, {t, i});
  }
  INVAR_HD void merge(State& s, const State& other) const {
    if (other.place >= 0 && (s.place < 0 || other.place < s.place)) s = other;
  }
  INVAR_HD void store(std::int64_t, const State& s) const {
    out[0] = s.place;
    out[1] = s.value;
  }
};

/// out[i] = x[.., index[i], ..]; the operands are out, index and x, the last one without `dim`.
template <class T>
struct Gather {
  Strided<3> operands;
  T* out;
  const std::int64_t* index;
  const T* x;
  std::int64_t x_stride;  ///< along dim

  INVAR_HD void operator()(std::int64_t i) const {
    std::int64_t at[3];
    operands.locate(i, at);
    out[at[0]] = x[at[2] + index[at[1]] * x_stride];
  }
};

/// out[.., index[t], ..] += src[t] for the terms t of line i, one after another. The operands, all
/// without `dim`, are index, src and out.
template <class T>
struct ScatterLine {
  Strided<3> lines;
  const std::int64_t* index;
  const T* src;
  T* out;
  std::int64_t terms, index_stride, src_stride, out_stride;  ///< along dim

  INVAR_HD void operator()(std::int64_t i) const {
    std::int64_t at[3];
    lines.locate(i, at);
    for (std::int64_t t = 0; t < terms; ++t) {
      T& sum = out[at[2] + index[at[0] + t * index_stride] * out_stride];
      sum = Add()(sum, src[at[1] + t * src_stride]);
    }
  }
};

/// The other way to scatter: where every element of src goes, and its number ...
struct ScatterKeys {
  Strided<2> operands;  ///< index, and out without `dim`
  const std::int64_t* index;
  std::int64_t out_stride;
  std::uint64_t* keys;
  std::int64_t* numbers;

  INVAR_HD void operator()(std::int64_t i) const {
    std::int64_t at[2];
    operands.locate(i, at);
    keys[i] = static_cast<std::uint64_t>(at[1] + index[at[0]] * out_stride);
    numbers[i] = i;
  }
};

/// ... and, these being sorted by key, the sum of each run of equal keys, made where it begins.
template <class S>
struct ScatterRuns {
  const std::uint64_t* keys;
  const std::int64_t* numbers;
  std::int64_t count;
  Strided<1> operand;  ///< src
  const S* src;
  S* out;

  INVAR_HD void operator()(std::int64_t i) const {
    const std::uint64_t key = keys[i];
    if (i > 0 && keys[i - 1] == key) return;
    Computed<S> total = widen(out[key]);
    for (std::int64_t k = i; k < count && keys[k] == key; ++k) {
      total = Add()(total, widen(src[operand.at(numbers[k])]));
    }
    out[key] = convert<S>(total);
  }
};

/// The coordinates of the element at positions[i], in a row of out.
struct Coordinates {
  const std::int64_t* positions;
  int dims;
  std::int64_t shape[kMaxDims];
  std::int64_t* out;

  INVAR_HD void operator()(std::int64_t i) const {
    std::int64_t rest = positions[i];
    for (int d = dims - 1; d >= 0; --d) {
      out[i * dims + d] = rest % shape[d];
      rest /= shape[d];
    }
  }
};

// --- running sums along a dimension, in three steps over pieces of each line

/// What the steps share. `sums` has a number per piece.
template <class S, class Sum>
struct RunningSums {
  Strided<2> lines;  ///< x and out without `dim`
  const S* x;
  S* out;
  std::int64_t n, x_stride, out_stride;
  std::int64_t piece, pieces;  ///< elements of a piece of a line; how many there are
  bool reverse;
  Sum* sums;

  /// Calls f(value, offset in out) for the elements of piece i, in their order.
  template <class F>
  INVAR_HD void for_piece(std::int64_t i, const F& f) const {
    const std::int64_t line = i / pieces, begin = (i - line * pieces) * piece;
    const std::int64_t end = n - begin < piece ? n : begin + piece;
    std::int64_t at[2];
    lines.locate(line, at);
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t place = reverse ? n - 1 - k : k;
      f(static_cast<Sum>(widen(x[at[0] + place * x_stride])), at[1] + place * out_stride);
    }
  }
};

/// First: the sum of piece i.
template <class S, class Sum>
struct PieceSum {
  RunningSums<S, Sum> all;
  INVAR_HD void operator()(std::int64_t i) const {
    Sum total = 0;
    all.for_piece(i, [&](Sum value, std::int64_t) { total += value; });
    all.sums[i] = total;
  }
};

/// Second: for the pieces of line i what comes before them.
template <class Sum>
struct PieceStart {
  Sum* sums;
  std::int64_t pieces;
  INVAR_HD void operator()(std::int64_t i) const {
    Sum before = 0;
    for (std::int64_t k = i * pieces; k < (i + 1) * pieces; ++k) {
      const Sum own = sums[k];
      sums[k] = before;
      before += own;
    }
  }
};

/// Third: piece i of out.
template <class S, class Sum>
struct PieceRun {
  RunningSums<S, Sum> all;
  INVAR_HD void operator()(std::int64_t i) const {
    Sum total = all.sums[i];
    all.for_piece(i, [&](Sum value, std::int64_t at) {
      total += value;
      all.out[at] = convert<S>(static_cast<Computed<S>>(total));
    });
  }
};

// --- sorting

/// x's place in an order, as a number of 8 sizeof(Computed<S>) bits: a NaN comes after every other
/// value, equal values have equal keys.
template <class S>
INVAR_HD std::uint64_t sort_key(S x, bool descending) {
  using T = Computed<S>;
  constexpr int kBits = 8 * sizeof(T);
  constexpr std::uint64_t kAll = ~std::uint64_t{0} >> (64 - kBits);
  constexpr std::uint64_t kSign = std::uint64_t{1} << (kBits - 1);
  const T v = widen(x);
  std::uint64_t key;
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<kBits == 32, std::uint32_t, std::uint64_t>;
    const std::uint64_t bits = v == 0 ? 0 : std::bit_cast<Bits>(v);
    key = v != v ? kAll : (bits & kSign) ? ~bits & kAll : bits | kSign;
  } else {
    key = (static_cast<std::uint64_t>(v) & kAll) ^ (std::is_signed_v<T> ? kSign : 0);
  }
  return descending ? ~key & kAll : key;
}

/// The keys of some lines of x, and where in its line each element is.
template <class S>
struct SortKeys {
  Strided<3> lines;  ///< x, values and indices without `dim`
  std::int64_t first_line, n;
  const S* x;
  std::int64_t x_stride;
  bool descending;
  std::uint64_t* keys;
  std::int64_t* numbers;

  INVAR_HD void operator()(std::int64_t i) const {
    const std::int64_t line = i / n, k = i - line * n;
    std::int64_t at[3];
    lines.locate(first_line + line, at);
    keys[i] = sort_key(x[at[0] + k * x_stride], descending);
    numbers[i] = k;
  }
};

/// The first `wanted` elements of each of these lines, numbers being sorted.
template <class S>
struct SortResults {
  Strided<3> lines;
  std::int64_t first_line, n, wanted;
  const S* x;
  const std::int64_t* numbers;
  S* values;
  std::int64_t* indices;
  std::int64_t x_stride, values_stride, indices_stride;

  INVAR_HD void operator()(std::int64_t i) const {
    const std::int64_t line = i / wanted, k = i - line * wanted;
    std::int64_t at[3];
    lines.locate(first_line + line, at);
    const std::int64_t number = numbers[line * n + k];
    values[at[1] + k * values_stride] = x[at[0] + number * x_stride];
    indices[at[2] + k * indices_stride] = number;
  }
};

}  // namespace invar::functors
