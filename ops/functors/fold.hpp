#pragma once
// Many values to few on a GPU: the launch shape of reductions, of the sums of normalisations, of
// whatever has a State that takes values and other states, in an order that depends on the shapes
// alone. Compiled for the CPU as well, so that tests can run it there, thread after thread.
//
//   block         one block of threads makes `lanes` neighbouring outputs of one piece of the terms
//   fold_share    each thread folds every rows-th term of its output into a state
//   fold_pairs    the states of an output are merged, the second half into the first, and so on
//   MergeStates   if there are several pieces, their states are folded in the same way
//   PackedFold    a thread has several neighbouring outputs, whose values it reads at once
//
// F has a State and identity(); add(state, offset, output, term) reads the input at that offset;
// merge(state, other); store(output, state). Instead of add it may have add_run(state, offset,
// stride, count, output) for all of a thread's terms of an output at once.
#include <algorithm>
#include <bit>
#include <invar/core/integers.hpp>
#include <invar/ops/functors/strided.hpp>

namespace invar::functors {

constexpr int kFoldThreads = 256;

struct FoldPlan {
  Strided<1> kept, folded;  ///< output j's term t lies at kept.at(j) + folded.at(t)
  std::int64_t outputs, terms;
  std::int64_t piece, pieces;  ///< terms of a piece; how many there are
  int lanes;                   ///< a power of two
  bool columns;                ///< neighbouring threads read neighbouring outputs, not terms

  INVAR_HD int rows() const { return kFoldThreads / lanes; }
  INVAR_HD int lane_of(int thread) const { return columns ? thread % lanes : thread / rows(); }
  INVAR_HD int row_of(int thread) const { return columns ? thread / lanes : thread % rows(); }
  INVAR_HD int slot_of(int lane, int row) const { return row * lanes + lane; }
  std::int64_t blocks() const { return ceil_div(outputs, lanes); }
};

/// Fills in how the work is divided. Constants, not the GPU at hand, decide: every GPU gives the
/// same bits.
inline void divide_fold(FoldPlan& plan, int most_lanes, std::int64_t most_pieces) {
  constexpr std::int64_t kBlocks = 4 * 132;  // keep a large GPU busy
  constexpr std::int64_t kTerms = 8;         // less for a thread is not worth another block
  const auto power = [](std::int64_t n, std::int64_t most) {
    return static_cast<int>(
        std::bit_ceil(static_cast<std::uint64_t>(std::clamp<std::int64_t>(n, 1, most))));
  };
  plan.lanes = kFoldThreads / power(plan.terms, kFoldThreads);
  if (plan.columns) plan.lanes = std::max(plan.lanes, power(plan.outputs, most_lanes));
  const std::int64_t rows = plan.rows();
  const std::int64_t worthwhile = std::max<std::int64_t>(plan.terms / (rows * kTerms), 1);
  const std::int64_t wanted =
      std::max<std::int64_t>(kBlocks / std::max<std::int64_t>(plan.blocks(), 1), 1);
  const std::int64_t pieces = std::min({wanted, worthwhile, most_pieces});
  const std::int64_t shares = ceil_div(plan.terms, pieces * rows);  // of a thread
  plan.piece = std::max<std::int64_t>(shares * rows, 1);
  plan.pieces = std::max<std::int64_t>(ceil_div(plan.terms, plan.piece), 1);
}

/// Of x to an output of `out_shape`, which has size 1 where it is reduced.
inline FoldPlan plan_fold(const Tensor& x, const Dims& out_shape) {
  Dims kept_shape, kept_strides, folded_shape, folded_strides;
  for (int d = 0; d < x.dim(); ++d) {
    const bool folded = out_shape[d] != x.shape()[d];
    (folded ? folded_shape : kept_shape).push_back(x.shape()[d]);
    (folded ? folded_strides : kept_strides).push_back(x.strides()[d]);
  }
  FoldPlan plan{};
  plan.kept = strided<1>(kept_shape, {kept_strides});
  plan.folded = strided<1>(folded_shape, {folded_strides});
  plan.outputs = numel_of(out_shape);
  plan.terms = numel_of(folded_shape);
  plan.columns = plan.terms > 1 && plan.outputs > 1 &&
                 plan.kept.strides[0][plan.kept.dims - 1] == 1 &&
                 plan.folded.strides[0][plan.folded.dims - 1] != 1;
  divide_fold(plan, 32, kFoldThreads * 4);
  return plan;
}

/// Of the states [pieces, outputs] that `plan` leaves; of a PackedFold there are `width` times as
/// many outputs as the plan has.
inline FoldPlan plan_merge(const FoldPlan& plan, int width) {
  const std::int64_t outputs = plan.outputs * width;
  FoldPlan merge{};
  merge.kept = strided<1>({outputs}, {Dims{1}});
  merge.folded = strided<1>({plan.pieces}, {Dims{outputs}});
  merge.outputs = outputs;
  merge.terms = plan.pieces;
  merge.columns = outputs > 1;
  divide_fold(merge, 4, 1);
  return merge;
}

/// The state of a thread of a block: of every rows-th term of a piece.
template <class F>
INVAR_HD typename F::State fold_share(const F& f, const FoldPlan& plan, std::int64_t block,
                                      std::int64_t piece, int thread) {
  typename F::State state = f.identity();
  const std::int64_t j = block * plan.lanes + plan.lane_of(thread);
  if (j >= plan.outputs) return state;
  const std::int64_t base = plan.kept.at(j), step = plan.rows();
  const std::int64_t begin = piece * plan.piece, rest = plan.terms - begin;
  const std::int64_t end = begin + (rest < plan.piece ? rest : plan.piece);
  const std::int64_t first = begin + plan.row_of(thread);
  const bool is_line = plan.folded.dims <= 1;
  const std::int64_t stride = plan.folded.dims == 1 ? plan.folded.strides[0][0] : 0;
  if constexpr (requires { f.add_run(state, base, stride, end, j); }) {
    const std::int64_t count = first < end ? ceil_div(end - first, step) : 0;
    if (is_line && count > 0) f.add_run(state, base + first * stride, step * stride, count, j);
    for (std::int64_t t = first; t < end && !is_line; t += step) {
      f.add_run(state, base + plan.folded.at(t), 0, 1, j);
    }
  } else if (is_line) {  // most often: without divisions compilers have several loads at once
    std::int64_t at = base + first * stride;
    for (std::int64_t t = first; t < end; t += step, at += step * stride) f.add(state, at, j, t);
  } else {
    for (std::int64_t t = first; t < end; t += step) f.add(state, base + plan.folded.at(t), j, t);
  }
  return state;
}

/// Merges rows [half, 2 half) of a block's states into rows [0, half), a thread's part of it.
template <class F>
INVAR_HD void fold_pairs(const F& f, const FoldPlan& plan, typename F::State* states, int half,
                         int thread) {
  const int lane = plan.lane_of(thread), row = plan.row_of(thread);
  if (row < half) {
    f.merge(states[plan.slot_of(lane, row)], states[plan.slot_of(lane, row + half)]);
  }
}

/// Hands on what a block has made of a piece: the result, or the state if there are other pieces.
template <class F>
INVAR_HD void fold_finish(const F& f, const FoldPlan& plan, const typename F::State* states,
                          std::int64_t block, std::int64_t piece, int thread,
                          typename F::State* partial) {
  const int lane = plan.lane_of(thread);
  const std::int64_t j = block * plan.lanes + lane;
  if (plan.row_of(thread) != 0 || j >= plan.outputs) return;
  const typename F::State& state = states[plan.slot_of(lane, 0)];
  if (plan.pieces == 1) {
    f.store(j, state);
  } else {
    partial[piece * plan.outputs + j] = state;
  }
}

template <class F>
struct MergeStates {
  F f;
  const typename F::State* partial;

  using State = typename F::State;
  INVAR_HD State identity() const { return f.identity(); }
  INVAR_HD void add(State& state, std::int64_t offset, std::int64_t, std::int64_t) const {
    f.merge(state, partial[offset]);
  }
  INVAR_HD void merge(State& state, const State& other) const { f.merge(state, other); }
  INVAR_HD void store(std::int64_t j, const State& state) const { f.store(j, state); }
};

/// V neighbouring outputs in the place of one: offsets and strides are in packs of V values. F, the
/// fold of a single output, has add_packs<V>(states, offset, stride, count, first output) in the
/// place of add. The states of pieces are merged one by one, so that more threads have some.
template <class F, int V>
struct PackedFold {
  F f;

  struct State {
    typename F::State of[V];
  };
  INVAR_HD State identity() const {
    State state;
    for (int k = 0; k < V; ++k) state.of[k] = f.identity();
    return state;
  }
  INVAR_HD void add_run(State& state, std::int64_t at, std::int64_t stride, std::int64_t count,
                        std::int64_t j) const {
    f.template add_packs<V>(state.of, at, stride, count, j * V);
  }
  INVAR_HD void merge(State& state, const State& other) const {
    for (int k = 0; k < V; ++k) f.merge(state.of[k], other.of[k]);
  }
  INVAR_HD void store(std::int64_t j, const State& state) const {
    for (int k = 0; k < V; ++k) f.store(j * V + k, state.of[k]);
  }
};

/// What folds the states of pieces, and how many outputs a fold has to one of its plan.
template <class F>
MergeStates<F> merge_states(const F& f, const typename F::State* partial) {
  return {f, partial};
}
template <class F, int V>
MergeStates<F> merge_states(const PackedFold<F, V>& packed,
                            const typename PackedFold<F, V>::State* partial) {
  return {packed.f, partial->of};
}
template <class F>
constexpr int kFoldWidth = 1;
template <class F, int V>
constexpr int kFoldWidth<PackedFold<F, V>> = V;

}  // namespace invar::functors
