#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/binary.hpp>

namespace invar::cpu {

void binary(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit_number(computed_in(out.dtype()), "elementwise", [&]<class T>() {
    functors::visit_binary(op, [&](auto f) { elementwise<T, T, T>(out, f, a, b); });
  });
}

void compare(CompareOp op, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(a.dtype(), [&]<class T>() {
    functors::visit_compare(op, [&](auto f) { elementwise<bool, T, T>(out, f, a, b); });
  });
}

void where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out) {
  visit(out.dtype(), [&]<class T>() {
    elementwise<T, bool, T, T>(
        out, [](bool c, T x, T y) { return c ? x : y; }, condition, a, b);
  });
}

}  // namespace invar::cpu
