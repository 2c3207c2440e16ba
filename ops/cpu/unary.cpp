#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/unary.hpp>

namespace invar::cpu {

void unary(UnaryOp op, Params params, const Tensor& x, const Tensor& out) {
  visit_number(computed_in(x.dtype()), "elementwise", [&]<class T>() {
    functors::visit_unary(op, params, [&](const auto& f) {
      if constexpr (std::is_floating_point_v<T> || std::decay_t<decltype(f)>::kIntegers) {
        elementwise<T, T>(out, f, x);
      } else {
        fail_internal("elementwise", "a real function of an integer tensor");
      }
    });
  });
}

}  // namespace invar::cpu
