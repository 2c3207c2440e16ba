#include <algorithm>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

/// `out`, copied if it is a view of x: what these operations give is nobody else's memory.
Tensor copied_from(const Tensor& x, const Tensor& out) {
  return out.storage() == x.storage() ? clone(out) : out;
}

void check_index(const char* op, const Tensor& index, std::int64_t size) {
  check(index.dtype() == DType::i64, op, "expected indices of dtype i64, got {}: convert with to()",
        index.dtype());
  const auto outside = kernel(&Kernels::index_outside, index.device(), op)(index, size);
  check(!outside.has_value(), op, "expected indices in [0, {}), got {}", size, outside.value_or(0));
}

/// gather and scatter_add, after their checks, are each other's gradient.
Tensor gathered(const char* op, const Tensor& x, int dim, const Tensor& index);

/// Zeros of `shape` with src added at the indices.
Tensor scattered(const char* op, const Dims& shape, int dim, const Tensor& index,
                 const Tensor& src) {
  const Tensor out = zeros(shape, src.options());
  kernel(&Kernels::scatter_add, src.device(), op)(dim, index, src, out);
  return record(op, {src}, out, [dim, index = SavedTensor(index)](const Tensor& g) -> Tensors {
    return {gathered("gather", g, dim, index.get())};
  });
}

Tensor gathered(const char* op, const Tensor& x, int dim, const Tensor& index) {
  const Tensor out = empty(index.shape(), x.options());
  kernel(&Kernels::gather, x.device(), op)(x, dim, index, out);
  return record(op, {x}, out,
                [dim, index = SavedTensor(index), from = x.shape()](const Tensor& g) -> Tensors {
                  return {scattered("gather_backward", from, dim, index.get(), g)};
                });
}

/// The checks that gather and scatter_add share; returns the dimension.
int check_gather(const char* op, const Tensor& x, int dim, const Tensor& index) {
  common_device(op, {x, index});
  const int d = wrap_dim(dim, x.dim(), op);
  check(x.dim() > 0 && index.dim() == x.dim(), op,
        "expected an index with as many dimensions as x (at least one), got {} and {}",
        index.shape(), x.shape());
  for (int i = 0; i < x.dim(); ++i) {
    check(i == d || index.shape()[i] <= x.shape()[i], op,
          "expected an index no larger than x but in dimension {}, got {} and {}", d, index.shape(),
          x.shape());
  }
  check_index(op, index, x.shape()[d]);
  return d;
}

}  // namespace

Tensor gather(const Tensor& x, int dim, const Tensor& index) {
  const int d = check_gather("gather", x, dim, index);
  return gathered("gather", x, d, index);
}

Tensor scatter_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src) {
  common_device("scatter_add", {x, src});
  check(src.shape() == index.shape() && src.dtype() == x.dtype(), "scatter_add",
        "expected src of shape {} and dtype {}, got {} and {}", index.shape(), x.dtype(),
        src.shape(), src.dtype());
  const int d = check_gather("scatter_add", x, dim, index);
  return x + scattered("scatter_add", x.shape(), d, index, src);
}

namespace {

/// The slices of x that a 1-D index names in dimension d.
Tensor selected(const char* op, const Tensor& x, int d, const Tensor& index) {
  common_device(op, {x, index});
  check_index(op, index, x.shape()[d]);
  Dims shape = x.shape(), strides = Dims::filled(x.dim(), 0);
  shape[d] = index.size(0);
  strides[d] = index.strides()[0];
  return gathered(op, x, d, alias(index, shape, strides, index.offset()));
}

}  // namespace

Tensor index_select(const Tensor& x, int dim, const Tensor& index) {
  check(x.dim() > 0 && index.dim() == 1, "index_select",
        "expected a 1-D index into a tensor of at least one dimension, got {} and {}",
        index.shape(), x.shape());
  return selected("index_select", x, wrap_dim(dim, x.dim(), "index_select"), index);
}

Tensor embedding(const Tensor& weight, const Tensor& index) {
  check(weight.dim() == 2, "embedding", "expected weight [count, width], got {}", weight.shape());
  Dims shape = index.shape();
  shape.push_back(weight.size(1));
  return reshape(selected("embedding", weight, 0, flatten(index)), shape);
}

Tensor nonzero(const Tensor& x) { return kernel(&Kernels::nonzero, x.device(), "nonzero")(x); }

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  common_device("masked_select", {x, mask});
  check(mask.dtype() == DType::boolean, "masked_select",
        "expected a mask of dtype bool, got {}: compare first (ne(mask, 0))", mask.dtype());
  const Dims shape = broadcast_shapes(x.shape(), mask.shape(), "masked_select");
  const Tensor where = nonzero(flatten(expand(mask, shape)));
  return gathered("masked_select", flatten(expand(x, shape)), 0, flatten(where));
}

Tensor one_hot(const Tensor& index, std::int64_t classes) {
  check(classes >= 0, "one_hot", "expected a number of classes, got {}", classes);
  check_index("one_hot", index, classes);
  const Tensor numbers =
      arange(0, static_cast<double>(classes), 1, {.dtype = DType::i64, .device = index.device()});
  return to(eq(unsqueeze(index, -1), numbers), DType::i64);
}

// The gradient of each piece is its slice of the gradient.
Tensor cat(const Tensors& tensors, int dim) {
  check(!tensors.empty(), "cat", "expected at least one tensor, got none");
  const Dims& first = tensors[0].shape();
  check(!first.empty(), "cat", "expected at least one dimension, got scalars: use stack");
  const int d = wrap_dim(dim, first.size(), "cat");
  DType dtype = tensors[0].dtype();
  Dims shape = first;
  shape[d] = 0;
  for (const Tensor& x : tensors) {
    common_device("cat", {tensors[0], x});
    dtype = promote(dtype, x.dtype());
    Dims like = x.shape();
    if (like.size() == shape.size()) like[d] = shape[d];
    check(like == shape, "cat", "expected equal shapes but for dimension {}, got {} and {}", d,
          first, x.shape());
    shape[d] += x.shape()[d];
  }
  Tensors pieces;
  for (const Tensor& x : tensors) pieces.push_back(to(x, dtype));
  const Tensor out = empty(shape, {.dtype = dtype, .device = tensors[0].device()});
  std::vector<std::int64_t> sizes;
  std::int64_t at = 0;
  for (const Tensor& x : pieces) {
    const std::int64_t size = x.shape()[d];
    sizes.push_back(size);
    if (x.numel() > 0) {
      kernel(&Kernels::copy, out.device(), "cat")(
          x, alias(out, x.shape(), out.strides(), out.offset() + at * out.strides()[d]));
    }
    at += size;
  }
  return record("cat", pieces, out, [d, sizes](const Tensor& g, Needs needs) -> Tensors {
    Tensors parts(sizes.size());
    std::int64_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); at += sizes[i++]) {
      if (needs[i]) parts[i] = narrow(g, d, at, sizes[i]);
    }
    return parts;
  });
}

Tensor stack(const Tensors& tensors, int dim) {
  check(!tensors.empty(), "stack", "expected at least one tensor, got none");
  const int d = wrap_dim(dim, tensors[0].dim() + 1, "stack");
  Tensors rows;
  for (const Tensor& x : tensors) {
    check(x.shape() == tensors[0].shape(), "stack", "expected equal shapes, got {} and {}",
          tensors[0].shape(), x.shape());
    rows.push_back(unsqueeze(x, d));
  }
  return cat(rows, d);
}

Tensor repeat(const Tensor& x, const Dims& repeats) {
  const int lead = repeats.size() - x.dim();
  check(lead >= 0, "repeat", "expected at least {} repeats (x is {}), got {}", x.dim(), x.shape(),
        repeats);
  Dims shape = Dims::filled(lead, 1);
  for (std::int64_t size : x.shape()) shape.push_back(size);
  Tensor out = reshape(x, shape);
  for (int d = 0; d < shape.size(); ++d) {
    check(repeats[d] >= 0, "repeat", "expected repeats of at least 0, got {}", repeats);
    if (repeats[d] == 1) continue;
    numel_of({shape[d], repeats[d]});  // an Error if there are too many
    // [before, d and after] -> [before, repeats, d and after]
    const std::int64_t before = numel_of(shape.first(d));
    const std::int64_t after = numel_of(shape.last(shape.size() - d));
    shape[d] *= repeats[d];
    out = reshape(expand(reshape(out, {before, 1, after}), {before, repeats[d], after}), shape);
  }
  return copied_from(x, out);
}

// The gradient of a reversal is the reversed gradient.
Tensor flip(const Tensor& x, const Dims& dims) {
  // Negative strides describe it; they exist for this one copy only.
  Dims strides = x.strides();
  std::int64_t offset = x.offset();
  std::array<bool, kMaxDims> seen{};
  for (std::int64_t dim : dims) {
    const int d = wrap_dim(dim, x.dim(), "flip");
    check(!seen[static_cast<std::size_t>(d)], "flip", "expected each dimension once, got {}", dims);
    seen[static_cast<std::size_t>(d)] = true;
    if (x.dim() == 0 || x.numel() == 0) continue;
    offset += (x.shape()[d] - 1) * strides[d];
    strides[d] = -strides[d];
  }
  const Tensor out = empty(x.shape(), x.options());
  kernel(&Kernels::copy, x.device(), "flip")(alias(x, x.shape(), strides, offset), out);
  return record("flip", {x}, out, [dims](const Tensor& g) -> Tensors { return {flip(g, dims)}; });
}

// --- pad -----------------------------------------------------------------------------------------

namespace {

struct Padding {
  std::int64_t before = 0, after = 0;
};
using Paddings = std::array<Padding, kMaxDims>;  ///< per dimension

// Padding is linear, and cropping takes back what padding adds: the gradient is padded by the
// negative sizes.
Tensor pad_constant(const Tensor& x, const Paddings& paddings, double value) {
  Tensor from = x.detach();
  Dims shape = x.shape();
  for (int d = 0; d < x.dim(); ++d) shape[d] += paddings[d].before + paddings[d].after;
  Tensor out = full(shape, value, x.options()), to = out;
  for (int d = 0; d < x.dim(); ++d) {
    const std::int64_t n = from.shape()[d];
    const std::int64_t first = std::clamp<std::int64_t>(-paddings[d].before, 0, n);
    const std::int64_t last = std::clamp<std::int64_t>(n + paddings[d].after, first, n);
    from = narrow(from, d, first, last - first);
    to = slice(to, d, std::max<std::int64_t>(0, paddings[d].before), shape[d]);
    to = slice(to, d, 0, last - first);
  }
  kernel(&Kernels::copy, x.device(), "pad")(from, to);
  Paddings opposite;
  for (std::size_t d = 0; d < opposite.size(); ++d) {
    opposite[d] = {-paddings[d].before, -paddings[d].after};
  }
  return record("pad", {x}, out,
                [opposite](const Tensor& g) -> Tensors { return {pad_constant(g, opposite, 0)}; });
}

Tensor pad_from_inside(const Tensor& x, int d, Padding padding, PadMode mode) {
  const std::int64_t n = x.shape()[d];
  const Tensor index = empty({n + padding.before + padding.after}, {.dtype = DType::i64});
  auto* const source = index.data<std::int64_t>();
  for (std::int64_t i = 0; i < index.numel(); ++i) {
    const std::int64_t at = i - padding.before;
    if (mode == PadMode::replicate) {
      source[i] = std::clamp<std::int64_t>(at, 0, n - 1);
    } else {
      source[i] = at < 0 ? -at : at >= n ? 2 * (n - 1) - at : at;
    }
  }
  return index_select(x, d, to(index, x.device()));
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<std::int64_t>& sizes, PadMode mode, double value) {
  check(sizes.size() % 2 == 0 && sizes.size() <= 2 * static_cast<std::size_t>(x.dim()), "pad",
        "expected sizes before and after for at most {} dimensions, got {} sizes", x.dim(),
        sizes.size());
  Paddings paddings;
  for (std::size_t i = 0; i < sizes.size(); i += 2) {
    const int d = x.dim() - 1 - static_cast<int>(i / 2);
    const Padding padding{sizes[i], sizes[i + 1]};
    const std::int64_t n = x.shape()[d];
    check(std::max(std::abs(padding.before / 2), std::abs(padding.after / 2)) < kMaxElements, "pad",
          "expected sizes within 2^61, got {} and {}", padding.before, padding.after);
    check(n + padding.before + padding.after >= 0, "pad",
          "expected to crop at most the {} elements of dimension {} of {}, got {} and {}", n, d,
          x.shape(), padding.before, padding.after);
    const std::int64_t most = std::max(padding.before, padding.after);
    check(mode != PadMode::reflect || most < std::max<std::int64_t>(n, 1), "pad",
          "expected reflections of less than the {} elements of dimension {} of {}, got {} and {}",
          n, d, x.shape(), padding.before, padding.after);
    check(mode != PadMode::replicate || n > 0 || most <= 0, "pad",
          "expected an element to replicate in dimension {}, got shape {}", d, x.shape());
    paddings[static_cast<std::size_t>(d)] = padding;
  }
  if (mode == PadMode::constant) return pad_constant(x, paddings, value);
  Tensor out = x;
  for (int d = 0; d < x.dim(); ++d) {
    const Padding padding = paddings[static_cast<std::size_t>(d)];
    if (padding.before != 0 || padding.after != 0) out = pad_from_inside(out, d, padding, mode);
  }
  return copied_from(x, out);
}

}  // namespace invar
