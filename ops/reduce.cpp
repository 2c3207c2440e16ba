#include <invar/core/autograd/record.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

/// x's shape with size 1 in every reduced dimension.
Dims reduced_shape(const char* op, const Dims& shape, const Dims& dims) {
  if (dims.empty()) return Dims::filled(shape.size(), 1);
  Dims out = shape;
  std::array<bool, kMaxDims> seen{};
  for (std::int64_t dim : dims) {
    const int d = wrap_dim(static_cast<int>(dim), shape.size(), op);
    check(!seen[static_cast<std::size_t>(d)], op, "expected each dimension once, got {}", dims);
    seen[static_cast<std::size_t>(d)] = true;
    if (!shape.empty()) out[d] = 1;
  }
  return out;
}

/// `kept` without the reduced dimensions.
Dims squeezed_shape(const Dims& shape, const Dims& dims) {
  if (dims.empty()) return {};
  std::array<bool, kMaxDims> drop{};
  for (std::int64_t dim : dims) {
    drop[static_cast<std::size_t>(dim < 0 ? dim + shape.size() : dim)] = true;
  }
  Dims out;
  for (int i = 0; i < shape.size(); ++i) {
    if (!drop[static_cast<std::size_t>(i)]) out.push_back(shape[i]);
  }
  return out;
}

}  // namespace

// d sum = the sum of d: g goes to every element
Tensor sum(const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = is_floating(input.dtype()) ? input : to(input, DType::i64);
  const Dims kept = reduced_shape("sum", x.shape(), dims);
  Tensor out = empty(kept, x.options());
  kernel(&Kernels::sum, x.device(), "sum")(x, out);
  if (!keepdim) {
    const Dims shape = squeezed_shape(x.shape(), dims);
    out = alias(out, shape, contiguous_strides(shape), 0);
  }
  return record("sum", {x}, out, [kept, from = x.shape()](const Tensor& g) -> Tensors {
    return {expand(reshape(g, kept), from)};
  });
}

Tensor sum_to(const Tensor& x, const Dims& shape) {
  if (x.shape() == shape) return x;
  const int lead = x.dim() - shape.size();
  Dims dims;
  for (int i = 0; i < x.dim(); ++i) {
    if (i < lead || (shape[i - lead] == 1 && x.shape()[i] != 1)) dims.push_back(i);
  }
  return reshape(dims.empty() ? x : sum(x, dims, true), shape);
}

Tensor mean(const Tensor& x, const Dims& dims, bool keepdim) {
  check(is_floating(x.dtype()), "mean", "expected a floating dtype, got {}: convert it with to()",
        x.dtype());
  const double n =
      static_cast<double>(x.numel()) / static_cast<double>(std::max<std::int64_t>(
                                           numel_of(reduced_shape("mean", x.shape(), dims)), 1));
  return sum(x, dims, keepdim) / n;
}

}  // namespace invar
