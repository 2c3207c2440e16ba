#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/table.hpp>

namespace invar::cuda {

const Kernels& table() {
  static constexpr Kernels kTable = [] {
    Kernels t{};  // slots without a kernel stay empty
    t.unary = unary;
    t.binary = binary;
    t.compare = compare;
    t.where = where;
    t.copy = copy;
    t.fill = fill;
    t.arange = arange;
    t.random = random;
    return t;
  }();
  return kTable;
}

}  // namespace invar::cuda
