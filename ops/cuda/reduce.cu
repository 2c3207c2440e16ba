#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/functors/reduce.hpp>

namespace invar::cuda {
namespace {

using functors::Computed;
using functors::visit_stored_number;
using functors::visit_stored_real;

/// x [..] reduced by f, whose results are stored as O.
template <class S, class O, class F>
void run(const Tensor& x, const Dims& out_shape, const F& f, O* out) {
  fold("reduce", x, functors::plan_fold(x, out_shape),
       functors::Reduction<F, S, O>{f, x.data<S>(), out});
}

template <class S>
void var(double correction, bool is_std, const Tensor& x, const Tensor& out) {
  using T = Computed<S>;
  const auto terms = static_cast<double>(x.numel() / std::max<std::int64_t>(out.numel(), 1));
  const Scratch<double> means(x, out.numel());
  run<S>(x, out.shape(), functors::Mean<T>(terms), means.data());
  const functors::Var<T> squares(means.data(), std::max(terms - correction, 0.0), is_std);
  run<S>(x, out.shape(), squares, out.data<S>());
}

}  // namespace

void reduce(ReduceOp op, Params params, const Tensor& x, const Tensor& out) {
  switch (op) {
    case ReduceOp::any:
      return run<bool>(x, out.shape(), functors::Any(), out.data<bool>());
    case ReduceOp::all:
      return run<bool>(x, out.shape(), functors::All(), out.data<bool>());
    case ReduceOp::var:
    case ReduceOp::std:
      return visit_stored_real(x.dtype(), "var",
                               [&]<class S>() { var<S>(params[0], op == ReduceOp::std, x, out); });
    default:
      break;
  }
  const auto with = [&]<class S>() {
    functors::visit_reduce<Computed<S>>(
        op, [&](const auto& f) { run<S>(x, out.shape(), f, out.data<S>()); });
  };
  if (x.dtype() == DType::i64) return with.template operator()<std::int64_t>();
  visit_stored_real(x.dtype(), "reduce", with);
}

bool all_finite(const Tensor& x) {
  if (x.numel() == 0 || !is_floating(x.dtype())) return true;
  const Scratch<std::uint8_t> finite(x, 1);
  visit_stored_real(x.dtype(), "all_finite", [&]<class S>() {
    fold("all_finite", x, functors::plan_fold(x, Dims::filled(x.dim(), 1)),
         functors::AllFinite<S>{x.data<S>(), finite.data()});
  });
  return read_back<std::uint8_t, 1>("all_finite", x, finite.data())[0] != 0;
}

void arg_reduce(ReduceOp op, const Tensor& x, int, const Tensor& values, const Tensor& indices) {
  visit_stored_number(x.dtype(), "arg_reduce", [&]<class S>() {
    fold("arg_reduce", x, functors::plan_fold(x, values.shape()),
         functors::ArgBest<S>{x.data<S>(), op == ReduceOp::max, values.data<S>(),
                              indices.data<std::int64_t>()});
  });
}

void softmax(const Tensor& x, int dim, bool log, const Tensor& out) {
  if (x.numel() == 0) return;
  Dims lines = x.shape();
  if (!lines.empty()) lines[dim] = 1;
  const Tensor largest = empty(lines, {.dtype = computed_in(x.dtype()), .device = x.device()});
  const Tensor factor = empty(lines, {.dtype = DType::f64, .device = x.device()});
  visit_stored_real(x.dtype(), "softmax", [&]<class S>() {
    using T = Computed<S>;
    fold("softmax", x, functors::plan_fold(x, lines),
         functors::SoftmaxOfLine<S>{x.data<S>(), log, largest.data<T>(), factor.data<double>()});
    elementwise<S, S, T, double>(out, functors::Softmax<S>{log}, x, largest, factor);
  });
}

}  // namespace invar::cuda
