#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <invar/core/cuda/error.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/ops/machine.hpp>

namespace invar {
namespace {

constexpr const char* kOp = "describe_gpu";

/// 13000 of CUDA is 13.0.
std::string cuda_version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

}  // namespace

std::string describe_gpu(Device gpu) {
  check(gpu.type == DeviceType::cuda, kOp, "expected a GPU, got {}", gpu);
  cudaDeviceProp properties;
  int runtime = 0, driver = 0;
  cuda::current_stream(gpu.index);
  cuda::check_cuda(cudaGetDeviceProperties(&properties, gpu.index), kOp);
  cuda::check_cuda(cudaRuntimeGetVersion(&runtime), kOp);
  cuda::check_cuda(cudaDriverGetVersion(&driver), kOp);
  const std::size_t cudnn = cudnnGetVersion();  // 90100 is 9.1.0
  return fmt::format("{}, CUDA {} (driver's {}), cuDNN {}.{}.{}", properties.name,
                     cuda_version(runtime), cuda_version(driver), cudnn / 10000, cudnn / 100 % 100,
                     cudnn % 100);
}

}  // namespace invar
