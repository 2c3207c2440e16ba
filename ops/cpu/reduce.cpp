// Reductions. The work is cut into tasks that depend on the shape only, and their states are merged
// in order, so a result has the same bits for any number of threads.
//
// Two ways through the values, whichever reads neighbours:
//   rows      the reduced dimensions are dense: many values into one state (lanes.hpp)
//   columns   the kept dimensions are dense: one value into each of many states, row by row
// Only these two loops are compiled for every functor and dtype; the rest is compiled once.
#include <cmath>
#include <invar/core/integers.hpp>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/lanes.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/reduce.hpp>
#include <vector>

namespace invar::cpu {
namespace {

/// A functor of functors/reduce.hpp, type erased. `j` is the number of the first output.
struct Reducer {
  const void* functor;
  std::size_t value_size, state_size, out_size;
  void (*start)(const void* f, void* states, std::int64_t count);
  void (*fold_row)(const void* f, void* state, const char* x, std::int64_t step,
                   std::int64_t length, std::int64_t j);
  void (*fold_columns)(const void* f, void* states, std::int64_t count, const char* x,
                       std::int64_t step, std::int64_t rows, std::int64_t j);
  void (*merge)(const void* f, void* states, const void* others, std::int64_t count);
  void (*finish)(const void* f, const void* states, std::int64_t count, void* out);
};

template <class T, class F>
Reducer erase(const F& functor) {
  using State = typename F::State;
  static_assert(std::is_trivially_copyable_v<State>);
  return {&functor,
          sizeof(T),
          sizeof(State),
          sizeof(typename F::Out),
          [](const void* f, void* states, std::int64_t count) {
            const F& op = *static_cast<const F*>(f);
            for (std::int64_t i = 0; i < count; ++i) static_cast<State*>(states)[i] = op.identity();
          },
          [](const void* f, void* state, const char* x, std::int64_t step, std::int64_t length,
             std::int64_t j) {
            const F& op = *static_cast<const F*>(f);
            const auto fold = [&](const auto& value) {
              const State folded = fold_in_lanes(
                  length, op.identity(),
                  [&](State& lane, std::int64_t i) { op.add(lane, value(i), j); },
                  [&](State& lane, const State& other) { op.merge(lane, other); });
              op.merge(*static_cast<State*>(state), folded);
            };
            const T* const dense = reinterpret_cast<const T*>(x);
            if (step == sizeof(T)) return fold([=](std::int64_t i) { return dense[i]; });
            fold([=](std::int64_t i) { return *reinterpret_cast<const T*>(x + i * step); });
          },
          [](const void* f, void* states, std::int64_t count, const char* x, std::int64_t step,
             std::int64_t rows, std::int64_t j) {
            const F op = *static_cast<const F*>(f);
            State* const s = static_cast<State*>(states);
            for (std::int64_t r = 0; r < rows; ++r) {
              const T* const row = reinterpret_cast<const T*>(x + r * step);
              for (std::int64_t i = 0; i < count; ++i) op.add(s[i], row[i], j + i);
            }
          },
          [](const void* f, void* states, const void* others, std::int64_t count) {
            const F& op = *static_cast<const F*>(f);
            for (std::int64_t i = 0; i < count; ++i) {
              op.merge(static_cast<State*>(states)[i], static_cast<const State*>(others)[i]);
            }
          },
          [](const void* f, const void* states, std::int64_t count, void* out) {
            const F& op = *static_cast<const F*>(f);
            for (std::int64_t i = 0; i < count; ++i) {
              static_cast<typename F::Out*>(out)[i] =
                  op.finish(static_cast<const State*>(states)[i]);
            }
          }};
}

/// Reduces x to the dense `out` of shape `out_shape` (size 1 in the reduced dimensions).
void run(const Reducer& r, const Tensor& x, const Dims& out_shape, void* out) {
  const std::int64_t outputs = numel_of(out_shape);
  if (outputs == 0) return;
  const std::int64_t terms = x.numel() / outputs;
  Dims kept_shape, kept_strides, folded_shape, folded_strides;
  for (int d = 0; d < x.dim(); ++d) {
    const bool folded = out_shape[d] != x.shape()[d];
    (folded ? folded_shape : kept_shape).push_back(x.shape()[d]);
    (folded ? folded_strides : kept_strides).push_back(x.strides()[d]);
  }
  const LoopNest<1> kept(kept_shape, {kept_strides}), folded(folded_shape, {folded_strides});
  const std::int64_t row_length = kept.shape.back(), kept_stride = kept.strides[0].back();
  const std::int64_t folded_stride = folded.strides[0].back();
  const bool columns = terms > 1 && row_length > 1 && kept_stride == 1 && folded_stride != 1;

  // A task is a piece of the terms for a unit of neighbouring outputs.
  const std::int64_t piece =
      std::max<std::int64_t>(kGrain / (columns ? std::min<std::int64_t>(row_length, 512) : 1), 64);
  const std::int64_t pieces = std::max<std::int64_t>(ceil_div(terms, piece), 1);
  const std::int64_t unit = std::clamp<std::int64_t>(
      kGrain / std::clamp<std::int64_t>(terms, 1, piece), columns ? 512 : 1, 4096);
  const std::int64_t units = ceil_div(outputs, unit);

  const char* const from = static_cast<const char*>(x.raw_data());
  char* const to = static_cast<char*>(out);
  const auto size = static_cast<std::int64_t>(r.value_size);
  const auto state_size = static_cast<std::int64_t>(r.state_size);
  const auto out_size = static_cast<std::int64_t>(r.out_size);
  // States of all pieces of an output, if there are several: [pieces, outputs].
  std::vector<char> partial(
      static_cast<std::size_t>(pieces > 1 ? pieces * outputs * state_size : 0));

  parallel_for(units * pieces, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<char> own(static_cast<std::size_t>(pieces > 1 ? 0 : unit * state_size));
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t p = task % pieces, begin = task / pieces * unit;
      const std::int64_t end = std::min(begin + unit, outputs);
      const std::int64_t fold_begin = p * piece, fold_end = std::min(terms, (p + 1) * piece);
      char* const states =
          pieces > 1 ? partial.data() + (p * outputs + begin) * state_size : own.data();
      r.start(r.functor, states, end - begin);
      std::int64_t j = begin;
      if (terms > 0) {
        kept.run(begin, end, [&](const std::array<std::int64_t, 1>& base, std::int64_t count) {
          char* const here = states + (j - begin) * state_size;
          if (columns) {
            folded.run(fold_begin, fold_end,
                       [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
                         r.fold_columns(r.functor, here, count, from + (base[0] + at[0]) * size,
                                        folded_stride * size, length, j);
                       });
          } else {
            for (std::int64_t i = 0; i < count; ++i) {
              folded.run(fold_begin, fold_end,
                         [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
                           r.fold_row(r.functor, here + i * state_size,
                                      from + (base[0] + i * kept_stride + at[0]) * size,
                                      folded_stride * size, length, j + i);
                         });
            }
          }
          j += count;
        });
      }
      if (pieces == 1) r.finish(r.functor, states, end - begin, to + begin * out_size);
    }
  });
  if (pieces == 1) return;
  parallel_for(outputs, kGrain, [&](std::int64_t begin, std::int64_t end) {
    char* const total = partial.data() + begin * state_size;
    for (std::int64_t p = 1; p < pieces; ++p) {
      r.merge(r.functor, total, partial.data() + (p * outputs + begin) * state_size, end - begin);
    }
    r.finish(r.functor, total, end - begin, to + begin * out_size);
  });
}

template <class T>
void var(double correction, bool is_std, const Tensor& x, const Tensor& out) {
  const std::int64_t per_output = x.numel() / std::max<std::int64_t>(out.numel(), 1);
  const auto terms = static_cast<double>(per_output);
  std::vector<double> means(static_cast<std::size_t>(out.numel()));
  const functors::Mean<T> mean(terms);
  run(erase<T>(mean), x, out.shape(), means.data());
  const functors::Var<T> squares(means.data(), std::max(terms - correction, 0.0), is_std);
  run(erase<T>(squares), x, out.shape(), out.raw_data());
}

}  // namespace

void reduce(ReduceOp op, Params params, const Tensor& x, const Tensor& out) {
  if (x.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { reduce(op, params, widened(x), y); });
  }
  const auto with = [&]<class T>(const auto& functor) {
    run(erase<T>(functor), x, out.shape(), out.raw_data());
  };
  switch (op) {
    case ReduceOp::any:
      return with.template operator()<bool>(functors::Any());
    case ReduceOp::all:
      return with.template operator()<bool>(functors::All());
    case ReduceOp::var:
    case ReduceOp::std:
      return visit_real(x.dtype(), op == ReduceOp::std ? "std" : "var",
                        [&]<class T>() { var<T>(params[0], op == ReduceOp::std, x, out); });
    default:
      break;
  }
  if (x.dtype() == DType::i64) {
    return functors::visit_reduce<std::int64_t>(
        op, [&](const auto& f) { with.template operator()<std::int64_t>(f); });
  }
  visit_real(x.dtype(), "reduce", [&]<class T>() {
    functors::visit_reduce<T>(op, [&](const auto& f) { with.template operator()<T>(f); });
  });
}

bool all_finite(const Tensor& x) {
  bool finite = true;
  visit(x.dtype(), [&]<class T>() {
    const LoopNest<1> nest(x.shape(), {x.strides()});
    const std::int64_t step = nest.strides[0].back();
    if (x.numel() == 0) return;
    nest.run(0, x.numel(), [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
      const T* run = x.data<T>() + at[0];
      for (std::int64_t i = 0; i < length; ++i)
        finite &= std::isfinite(static_cast<double>(run[i * step]));
    });
  });
  return finite;
}

}  // namespace invar::cpu
