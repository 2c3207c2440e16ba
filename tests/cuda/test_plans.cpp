// cuDNN without a GPU: it accepts our graphs, and has plans for the convolutions of ResNets on an
// H200, which it is only told about.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <invar/core/error.hpp>
#include <invar/ops/cuda/plans.hpp>
#include <invar/ops/cuda/settings.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr const char* kH200 = R"({"version": 1, "deviceName": "NVIDIA H200", "deviceVer": 900,
  "driverVer": 13000, "cudaDeviceId": 0, "pciDeviceId": 0, "isTccDriver": 0,
  "supportCoopLaunch": 1, "multiProcessorCount": 132, "warpSize": 32, "maxCtasPerSM": 32,
  "maxThreadsPerSM": 2048, "maxThreadsPerBlock": 1024, "regsPerBlock": 65536,
  "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
  "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "smClockRateKHz": 1980000, "memClockRateKHz": 3201000, "l2CacheSize": 62914560,
  "totalGlobalMem": 150754820096})";

struct Layer {
  std::int64_t size, channels, outputs, kernel, stride;
  std::int64_t batch = 256;
};

/// Of ResNet-18 with CIFAR stem for images of 32x32, of the large stem and the bottlenecks, of
/// narrow networks on grey images and small ones, and of batches of other sizes.
const std::vector<Layer> kLayers{
    {32, 3, 64, 3, 1},        {32, 64, 64, 3, 1},        {32, 64, 128, 3, 2},
    {32, 64, 128, 1, 2},      {16, 128, 128, 3, 1},      {16, 128, 256, 3, 2},
    {16, 128, 256, 1, 2},     {8, 256, 256, 3, 1},       {8, 256, 512, 3, 2},
    {8, 256, 512, 1, 2},      {4, 512, 512, 3, 1},       {64, 3, 64, 7, 2},
    {16, 64, 256, 1, 1},      {16, 256, 64, 1, 1},       {28, 1, 16, 3, 1},
    {28, 16, 16, 3, 1},       {28, 16, 32, 3, 2},        {28, 16, 32, 1, 2},
    {14, 32, 32, 3, 1},       {24, 32, 32, 3, 1},        {12, 32, 64, 3, 2},
    {32, 64, 64, 3, 1, 1024}, {32, 64, 128, 3, 2, 1024}, {4, 512, 512, 3, 1, 1024},
    {28, 1, 16, 3, 1, 500},   {32, 64, 64, 3, 1, 500},   {16, 3, 16, 3, 1, 8},
    {16, 1, 16, 3, 1, 4}};

}  // namespace

TEST_CASE("cuDNN has plans for ResNets on a GPU that it is told about", "[plans]") {
  try {
    cuda::conv_plans(kH200, {1, 8, 8, 8}, {8, 3, 3, 8}, {}, DType::f32);
  } catch (const Error& error) {
    const std::string told = error.what();
    if (told.find("starting 9.8") != std::string::npos) SKIP("cuDNN is older than 9.8");
    throw;
  }
  for (const bool deterministic : {false, true}) {
    cuda::use_deterministic_algorithms(deterministic);
    for (const DType dtype : {DType::bf16, DType::f32}) {
      for (const Layer& layer : kLayers) {
        const auto plans =
            cuda::conv_plans(kH200, {layer.batch, layer.size, layer.size, layer.channels},
                             {layer.outputs, layer.kernel, layer.kernel, layer.channels},
                             {.stride = layer.stride, .padding = layer.kernel / 2}, dtype);
        REQUIRE(plans.size() == 3);
        for (const cuda::ConvPlan& plan : plans) {
          INFO(plan.problem << ": " << plan.name << ", " << (plan.workspace >> 20) << " MiB"
                            << (plan.rounded ? ", rounded" : "") << plan.reason);
          CHECK(!plan.name.empty());
          CHECK(plan.workspace <= cuda::workspace_limit());
        }
      }
    }
  }
  cuda::use_deterministic_algorithms(false);
  CHECK_THROWS_WITH(cuda::conv_plans("{}", {1, 8, 8, 8}, {8, 3, 3, 8}, {}, DType::f32),
                    ContainsSubstring("expected cuDNN's description of a GPU"));
}
