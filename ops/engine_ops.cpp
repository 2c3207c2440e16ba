// What core's engine needs of the ops; see core/autograd/engine_ops.hpp.
#include <invar/core/autograd/engine_ops.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/kernels.hpp>

namespace invar::engine_ops {

Tensor add(const Tensor& a, const Tensor& b) { return invar::add(a, b); }

void add_(const Tensor& a, const Tensor& b) {
  NoGrad guard;
  invar::add_(a, b);
}

Tensor clone(const Tensor& x) { return invar::clone(x); }

Tensor ones_like(const Tensor& x) { return invar::ones_like(x); }

bool all_finite(const Tensor& x) {
  return kernel(&Kernels::all_finite, x.device(), "all_finite")(x);
}

}  // namespace invar::engine_ops
