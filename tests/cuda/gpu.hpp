#pragma once
// What every test of the GPU begins with.
#include <catch2/catch_test_macros.hpp>
#include <invar/core/cuda/runtime.hpp>

namespace invar::test {

inline constexpr Device kGpu{DeviceType::cuda, 0};

inline void skip_without_gpu() {
  if (cuda::device_count() == 0) SKIP("no GPU");
}

}  // namespace invar::test
