#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/table.hpp>

namespace invar::cuda {

const Kernels& table() {
  static constexpr Kernels kTable = [] {
    Kernels all = kKernels;
    all.sample_images = sample_images;
    all.image_step = image_step;
    return all;
  }();
  return kTable;
}

}  // namespace invar::cuda
