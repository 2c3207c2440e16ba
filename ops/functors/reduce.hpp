#pragma once
// One step of a reduction, for CPU and GPU alike. A reduction of many values of type T to one is a
// state that starts as identity(), takes values with add() and other states with merge(), in any
// grouping, and ends in finish(). `j` is the number of the output that a value belongs to.
//
// f32 is summed in f64. Products of f32 too. A NaN among the values wins in max, min and norm_inf.
#include <cmath>
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <invar/ops/functors/stored.hpp>
#include <invar/ops/functors/unary.hpp>
#include <invar/ops/kernels.hpp>
#include <limits>
#include <type_traits>

namespace invar::functors {

/// What values of type T are summed and multiplied in; integers wrap around (convert.hpp).
template <class T>
using Accumulator = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;

template <class T>
struct Sum {
  using State = Accumulator<T>;
  using Out = T;
  INVAR_HD State identity() const { return 0; }
  INVAR_HD void add(State& s, T x, std::int64_t) const { s += static_cast<State>(x); }
  INVAR_HD void merge(State& s, State other) const { s += other; }
  INVAR_HD Out finish(State s) const { return static_cast<Out>(s); }
};

template <class T>
struct Prod {
  using State = Accumulator<T>;
  using Out = T;
  INVAR_HD State identity() const { return 1; }
  INVAR_HD void add(State& s, T x, std::int64_t) const { s *= static_cast<State>(x); }
  INVAR_HD void merge(State& s, State other) const { s *= other; }
  INVAR_HD Out finish(State s) const { return static_cast<Out>(s); }
};

template <class T>
INVAR_HD constexpr T lowest() {
  return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                              : std::numeric_limits<T>::lowest();
}
template <class T>
INVAR_HD constexpr T highest() {
  return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity()
                                              : std::numeric_limits<T>::max();
}

template <class T>
struct Max {
  using State = T;
  using Out = T;
  INVAR_HD State identity() const { return lowest<T>(); }
  INVAR_HD void add(State& s, T x, std::int64_t) const { s = (x > s) | (x != x) ? x : s; }
  INVAR_HD void merge(State& s, State other) const { add(s, other, 0); }
  INVAR_HD Out finish(State s) const { return s; }
};

template <class T>
struct Min {
  using State = T;
  using Out = T;
  INVAR_HD State identity() const { return highest<T>(); }
  INVAR_HD void add(State& s, T x, std::int64_t) const { s = (x < s) | (x != x) ? x : s; }
  INVAR_HD void merge(State& s, State other) const { add(s, other, 0); }
  INVAR_HD Out finish(State s) const { return s; }
};

struct Any {
  using State = std::uint8_t;
  using Out = bool;
  INVAR_HD State identity() const { return 0; }
  INVAR_HD void add(State& s, bool x, std::int64_t) const { s |= static_cast<State>(x); }
  INVAR_HD void merge(State& s, State other) const { s |= other; }
  INVAR_HD Out finish(State s) const { return s != 0; }
};

struct All {
  using State = std::uint8_t;
  using Out = bool;
  INVAR_HD State identity() const { return 1; }
  INVAR_HD void add(State& s, bool x, std::int64_t) const { s &= static_cast<State>(x); }
  INVAR_HD void merge(State& s, State other) const { s &= other; }
  INVAR_HD Out finish(State s) const { return s != 0; }
};

/// log sum_i e^(x_i) = m + log sum_i e^(x_i - m), m the maximum so far. Equal values are counted
/// without subtracting them: infinity - infinity would be NaN.
template <class T>
struct LogSumExp {
  struct State {
    T max;
    double sum;  ///< of e^(x - max)
  };
  using Out = T;
  INVAR_HD State identity() const { return {lowest<T>(), 0}; }
  INVAR_HD void add(State& s, T x, std::int64_t) const { merge(s, {x, 1}); }
  INVAR_HD void merge(State& s, State other) const {
    if (other.max == s.max) {
      s.sum += other.sum;
    } else if (other.max < s.max) {
      s.sum += other.sum * Exp()(other.max - s.max);
    } else {
      s = {other.max, s.sum * Exp()(s.max - other.max) + other.sum};
    }
  }
  INVAR_HD Out finish(State s) const {
    return static_cast<Out>(static_cast<double>(s.max) + std::log(s.sum));
  }
};

/// sum |x|
template <class T>
struct Norm1 : Sum<T> {
  INVAR_HD void add(double& s, T x, std::int64_t) const { s += std::abs(static_cast<double>(x)); }
};

/// sqrt(sum x^2)
template <class T>
struct Norm2 : Sum<T> {
  INVAR_HD void add(double& s, T x, std::int64_t) const {
    s += static_cast<double>(x) * static_cast<double>(x);
  }
  INVAR_HD T finish(double s) const { return static_cast<T>(std::sqrt(s)); }
};

/// max |x|, and 0 of nothing
template <class T>
struct NormInf : Max<T> {
  INVAR_HD T identity() const { return 0; }
  INVAR_HD void add(T& s, T x, std::int64_t) const { Max<T>::add(s, std::abs(x), 0); }
};

/// sum x / count, kept in f64: the first pass of Var.
template <class T>
struct Mean : Sum<T> {
  using Out = double;
  double count;
  INVAR_HD explicit Mean(double n) : count(n) {}
  INVAR_HD double finish(double s) const { return s / count; }
};

/// sum (x - mean)^2 / divisor; of std its root, taken in f64: the square of an f32 may be none.
template <class T>
struct Var : Sum<T> {
  const double* means;  ///< of each output
  double divisor;
  bool root;
  INVAR_HD Var(const double* of_outputs, double by, bool is_std)
      : means(of_outputs), divisor(by), root(is_std) {}
  INVAR_HD void add(double& s, T x, std::int64_t j) const {
    const double d = static_cast<double>(x) - means[j];
    s += d * d;
  }
  INVAR_HD T finish(double s) const {
    return static_cast<T>(root ? std::sqrt(s / divisor) : s / divisor);
  }
};

/// Calls f with the functor of `op` (var and std aside, which need means) for values of type T.
template <class T, class F>
void visit_reduce(ReduceOp op, F&& f) {
  switch (op) {
    case ReduceOp::sum:
      return f(Sum<T>{});
    case ReduceOp::prod:
      return f(Prod<T>{});
    case ReduceOp::max:
      return f(Max<T>{});
    case ReduceOp::min:
      return f(Min<T>{});
    default:
      break;
  }
  if constexpr (std::is_floating_point_v<T>) {
    switch (op) {
      case ReduceOp::logsumexp:
        return f(LogSumExp<T>{});
      case ReduceOp::norm1:
        return f(Norm1<T>{});
      case ReduceOp::norm2:
        return f(Norm2<T>{});
      case ReduceOp::norm_inf:
        return f(NormInf<T>{});
      default:
        break;
    }
  }
  fail_internal("reduce", "no such reduction of this dtype");
}

// --- what a GPU folds (fold.hpp)

/// A functor from above over values stored as S, whose results are stored as O.
template <class F, class S, class O>
struct Reduction {
  F f;
  const S* x;
  O* out;

  using State = typename F::State;
  INVAR_HD State identity() const { return f.identity(); }
  INVAR_HD void add(State& s, std::int64_t at, std::int64_t j, std::int64_t) const {
    f.add(s, widen(x[at]), j);
  }
  INVAR_HD void merge(State& s, const State& other) const { f.merge(s, other); }
  INVAR_HD void store(std::int64_t j, const State& s) const { out[j] = convert<O>(f.finish(s)); }
};

/// No infinity and no NaN: such a value less itself is no 0.
template <class S>
struct AllFinite {
  const S* x;
  std::uint8_t* out;

  using State = std::uint8_t;
  INVAR_HD State identity() const { return 1; }
  INVAR_HD void add(State& s, std::int64_t at, std::int64_t, std::int64_t) const {
    const auto v = widen(x[at]);
    s &= static_cast<State>(v - v == 0);
  }
  INVAR_HD void merge(State& s, State other) const { s &= other; }
  INVAR_HD void store(std::int64_t j, State s) const { out[j] = s; }
};

/// The largest or the smallest value and where it is: the first of equal ones, a NaN before
/// everything.
template <class S>
struct ArgBest {
  const S* x;
  bool largest;
  S* values;
  std::int64_t* indices;

  struct State {
    Computed<S> value;
    std::int64_t where;  ///< -1: nothing yet
  };
  INVAR_HD State identity() const { return {0, -1}; }
  INVAR_HD void add(State& s, std::int64_t at, std::int64_t, std::int64_t t) const {
    merge(s, {widen(x[at]), t});
  }
  INVAR_HD void merge(State& s, const State& other) const {
    if (other.where >= 0 && (s.where < 0 || beats(other, s))) s = other;
  }
  INVAR_HD void store(std::int64_t j, const State& s) const {
    values[j] = convert<S>(s.value);
    indices[j] = s.where;
  }

 private:
  INVAR_HD bool beats(const State& a, const State& b) const {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan;
    if (a_nan || a.value == b.value) return a.where < b.where;
    return largest ? a.value > b.value : a.value < b.value;
  }
};

/// What softmax must know of a line: its maximum, and the factor or (log) the shift that the sum of
/// e^(x - maximum) makes. NaN if the maximum is infinite, as infinity - infinity is.
template <class S>
struct SoftmaxOfLine {
  const S* x;
  bool log;
  Computed<S>* largest;
  double* factor;

  using F = LogSumExp<Computed<S>>;
  using State = typename F::State;
  INVAR_HD State identity() const { return F().identity(); }
  INVAR_HD void add(State& s, std::int64_t at, std::int64_t j, std::int64_t) const {
    F().add(s, widen(x[at]), j);
  }
  INVAR_HD void merge(State& s, const State& other) const { F().merge(s, other); }
  INVAR_HD void store(std::int64_t j, const State& s) const {
    largest[j] = s.max;
    const auto undefined = s.max - s.max;  // 0 or NaN
    factor[j] = (log ? std::log(s.sum) : 1 / s.sum) + static_cast<double>(undefined);
  }
};

/// One element, given these.
template <class S>
struct Softmax {
  bool log;
  INVAR_HD S operator()(S x, Computed<S> largest, double factor) const {
    using T = Computed<S>;
    const T d = widen(x) - largest;
    if (log) return convert<S>(static_cast<T>(static_cast<double>(d) - factor));
    return convert<S>(Exp()(d) * static_cast<T>(factor));
  }
};

}  // namespace invar::functors
