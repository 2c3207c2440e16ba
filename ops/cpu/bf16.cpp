#include <algorithm>
#include <invar/ops/cpu/bf16.hpp>
#include <numeric>

namespace invar::cpu {

Tensor widened(const Tensor& x) {
  if (!x.defined() || x.dtype() != DType::bf16) return x;
  if (x.is_contiguous()) {
    Tensor wide = empty(x.shape());
    copy(x, wide);
    return wide;
  }
  const Dims& strides = x.strides();
  std::array<int, kMaxDims> order;  // of the dimensions, from the largest stride to the smallest
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.begin() + x.dim(),
                   [&](int a, int b) { return strides[a] > strides[b]; });
  Dims shape, from_strides;
  for (int k = 0; k < x.dim(); ++k) {
    const int d = order[static_cast<std::size_t>(k)];
    shape.push_back(strides[d] == 0 ? std::min<std::int64_t>(x.shape()[d], 1) : x.shape()[d]);
    from_strides.push_back(strides[d]);
  }
  const Tensor wide = empty(shape);
  copy(alias(x, shape, from_strides, x.offset()), wide);
  Dims wide_strides = strides;
  for (int k = 0; k < x.dim(); ++k) {
    const int d = order[static_cast<std::size_t>(k)];
    if (strides[d] != 0) wide_strides[d] = wide.strides()[k];
  }
  return alias(wide, x.shape(), wide_strides, 0);
}

}  // namespace invar::cpu
