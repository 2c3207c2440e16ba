#include <invar/ops/convert.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cuda/table.hpp>
#include <invar/ops/kernels.hpp>

namespace invar {

const Kernels& kernels(Device device) {
  return device.type == DeviceType::cpu ? cpu::kKernels : cuda::table();
}

void fail_no_kernel(std::string_view op, Device device) {
  fail(op, "has no {} kernel in this build", device.type == DeviceType::cpu ? "cpu" : "CUDA");
}

Device common_device(std::string_view op,
                     std::initializer_list<std::reference_wrapper<const Tensor>> tensors) {
  const Device device = tensors.begin()->get().device();
  for (const Tensor& t : tensors) {
    check(t.device() == device, op, "expected all tensors on {}, got one on {}: move it with to()",
          device, t.device());
  }
  return device;
}

Tensor for_matrix_kernel(const Tensor& x) {
  const std::int64_t rows = x.size(-2), columns = x.size(-1);
  const std::int64_t row_stride = x.strides()[x.dim() - 2];
  const std::int64_t column_stride = x.strides()[x.dim() - 1];
  const bool by_rows = (columns <= 1 || column_stride == 1) && (rows <= 1 || row_stride >= columns);
  const bool by_columns = (rows <= 1 || row_stride == 1) && (columns <= 1 || column_stride >= rows);
  return by_rows || by_columns ? x.detach() : clone(x.detach());
}

}  // namespace invar
