#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/functors/binary.hpp>
#include <invar/ops/functors/unary.hpp>

namespace invar::cuda {
namespace {

using functors::visit_stored_number;

/// f of the widened operands, rounded.
template <class F>
struct Widened {
  F f;
  template <class... S>
  INVAR_HD BFloat16 operator()(S... x) const {
    return BFloat16(f(functors::widen(x)...));
  }
};

/// f for elements stored as S.
template <class S, class F>
auto stored(const F& f) {
  if constexpr (std::is_same_v<S, BFloat16>) {
    return Widened<F>{f};
  } else {
    return f;
  }
}

struct Where {
  template <class T>
  INVAR_HD T operator()(bool condition, T a, T b) const {
    return condition ? a : b;
  }
};

}  // namespace

void unary(UnaryOp op, Params params, const Tensor& x, const Tensor& out) {
  visit_stored_number(x.dtype(), "elementwise", [&]<class S>() {
    functors::visit_unary(op, params, [&]<class F>(const F& f) {
      if constexpr (std::is_floating_point_v<functors::Computed<S>> || F::kIntegers) {
        elementwise<S, S>(out, stored<S>(f), x);
      } else {
        fail_internal("elementwise", "a real function of an integer tensor");
      }
    });
  });
}

void binary(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit_stored_number(out.dtype(), "elementwise", [&]<class S>() {
    functors::visit_binary(op, [&](auto f) { elementwise<S, S, S>(out, stored<S>(f), a, b); });
  });
}

void compare(CompareOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(a.dtype(), [&]<class T>() {
    functors::visit_compare(op, [&](auto f) { elementwise<bool, T, T>(out, f, a, b); });
  });
}

void where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(out.dtype(), [&]<class T>() { elementwise<T, bool, T, T>(out, Where{}, condition, a, b); });
}

}  // namespace invar::cuda
