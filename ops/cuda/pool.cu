#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/launch.cuh>
#include <invar/ops/functors/pool.hpp>

namespace invar::cuda {

using functors::PoolWindows;
using functors::visit_stored_real;

void max_pool2d(const Tensor& x, const PoolWindows& rows, const PoolWindows& columns,
                const Tensor& out, const Tensor& indices) {
  visit_stored_real(x.dtype(), "max_pool2d", [&]<class S>() {
    for_each("max_pool2d", out, out.numel(),
             functors::MaxPool<S>{x.data<const S>(), rows, columns, x.shape()[3], out.data<S>(),
                                  indices.data<std::int32_t>()});
  });
}

void max_pool2d_select(const Tensor& x, const Tensor& indices, const Tensor& out) {
  const Dims &from = x.shape(), &to = out.shape();
  visit_stored_real(x.dtype(), "max_pool2d_select", [&]<class S>() {
    for_each("max_pool2d_select", out, out.numel(),
             functors::MaxPoolSelect<S>{x.data<const S>(), indices.data<const std::int32_t>(),
                                        to[1] * to[2], from[1] * from[2], from[3], out.data<S>()});
  });
}

// A thread goes through the windows of one channel of one image: N C threads, each of as many steps
// as there are windows. The sums of overlapping windows are in their order, as on the CPU; bf16
// ones are made in f32.
void max_pool2d_backward(const Tensor& gradient, const Tensor& indices, const Tensor& out) {
  constexpr const char* kOp = "max_pool2d_backward";
  if (out.dtype() == DType::bf16) {
    const TensorOptions f32{.device = out.device()};
    const Tensor wide_gradient = empty(gradient.shape(), f32), wide = empty(out.shape(), f32);
    copy(gradient, wide_gradient);
    max_pool2d_backward(wide_gradient, indices, wide);
    return copy(wide, out);
  }
  const Dims &from = gradient.shape(), &to = out.shape();
  fill(0, out);
  visit_real(out.dtype(), kOp, [&]<class T>() {
    for_each(
        kOp, out, to[0] * to[3],
        functors::MaxPoolBackward<T>{gradient.data<const T>(), indices.data<const std::int32_t>(),
                                     from[1] * from[2], to[1] * to[2], to[3], out.data<T>()});
  });
}

void avg_pool2d(const Tensor& x, const PoolWindows& rows, const PoolWindows& columns,
                const Tensor& out) {
  visit_stored_real(x.dtype(), "avg_pool2d", [&]<class S>() {
    for_each("avg_pool2d", out, out.numel(),
             functors::AvgPool<S>{x.data<const S>(), rows, columns, x.shape()[3], out.data<S>()});
  });
}

void avg_pool2d_backward(const Tensor& gradient, const PoolWindows& rows,
                         const PoolWindows& columns, const Tensor& out) {
  visit_stored_real(out.dtype(), "avg_pool2d_backward", [&]<class S>() {
    for_each("avg_pool2d_backward", out, out.numel(),
             functors::AvgPoolBackward<S>{gradient.data<const S>(), rows, columns, out.shape()[3],
                                          out.data<S>()});
  });
}

}  // namespace invar::cuda
