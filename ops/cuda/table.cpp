#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/table.hpp>

namespace invar::cuda {

const Kernels& table() {
  static constexpr Kernels kTable{
      .unary = unary,
      .binary = binary,
      .compare = compare,
      .where = where,
      .copy = copy,
      .fill = fill,
      .arange = arange,
      .random = random,
  };
  return kTable;
}

}  // namespace invar::cuda
