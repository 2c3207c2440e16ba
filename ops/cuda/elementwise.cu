#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/functors/binary.hpp>
#include <invar/ops/functors/unary.hpp>

namespace invar::cuda {

void unary(UnaryOp op, Params params, const Tensor& x, const Tensor& out) {
  visit_number(x.dtype(), "elementwise", [&]<class T>() {
    functors::visit_unary(op, params, [&](const auto& f) {
      if constexpr (std::is_floating_point_v<T> || std::decay_t<decltype(f)>::kIntegers) {
        elementwise<T, T>(out, f, x);
      } else {
        throw InternalError("[elementwise] internal error: a real function of an integer tensor");
      }
    });
  });
}

void binary(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit_number(out.dtype(), "elementwise", [&]<class T>() {
    functors::visit_binary(op, [&](auto f) { elementwise<T, T, T>(out, f, a, b); });
  });
}

void compare(CompareOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(a.dtype(), [&]<class T>() {
    functors::visit_compare(op, [&](auto f) { elementwise<bool, T, T>(out, f, a, b); });
  });
}

namespace {

struct Where {
  template <class T>
  INVAR_HD T operator()(bool condition, T a, T b) const {
    return condition ? a : b;
  }
};

}  // namespace

void where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(out.dtype(), [&]<class T>() { elementwise<T, bool, T, T>(out, Where{}, condition, a, b); });
}

}  // namespace invar::cuda
