#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/kernels.hpp>

namespace invar {

const Kernels& kernels(Device device) {
  static constexpr Kernels kNone{};
  return device.type == DeviceType::cpu ? cpu::table() : kNone;
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

}  // namespace invar
