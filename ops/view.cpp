#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/autograd/record.hpp>
#include <invar/core/integers.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

/// `shape` with its -1 replaced, checked against the number of elements.
Dims complete_shape(const char* op, const Tensor& x, const Dims& shape) {
  Dims out = shape;
  int unknown = -1;
  for (int i = 0; i < shape.size(); ++i) {
    check(shape[i] >= -1, op, "expected sizes of at least 0 (or one -1), got {}", shape);
    if (shape[i] != -1) continue;
    check(unknown < 0, op, "expected at most one size of -1, got {}", shape);
    unknown = i;
    out[i] = 1;
  }
  if (unknown >= 0) {
    const std::int64_t known = numel_of(out);
    check(known != 0, op, "expected a size instead of -1 where another is 0, got {}", shape);
    check(x.numel() % known == 0, op, "expected a shape for {} elements, got {}", x.numel(), shape);
    out[unknown] = x.numel() / known;
  }
  check(numel_of(out) == x.numel(), op, "expected a shape for {} elements (x is {}), got {}",
        x.numel(), x.shape(), shape);
  return out;
}

/// Strides that read x's elements in row-major order as `shape`, if there are any.
std::optional<Dims> view_strides(const Tensor& x, const Dims& shape) {
  Dims strides = contiguous_strides(shape);
  if (x.numel() == 0 || x.is_contiguous()) return strides;
  // Walk both shapes from the back. A run of x's dimensions that one stride describes may be cut up
  // at will; the new dimensions must not cross from one run into the next.
  int to = shape.size() - 1;
  std::int64_t run = 1;  // elements of the current run of x
  std::int64_t step = x.dim() > 0 ? x.strides()[x.dim() - 1] : 1;
  std::int64_t used = 1;  // elements of the current run given to new dimensions
  for (int from = x.dim() - 1; from >= 0; --from) {
    run *= x.shape()[from];
    const bool run_ends =
        from == 0 || (x.shape()[from - 1] != 1 && x.strides()[from - 1] != run * step);
    if (!run_ends) continue;
    while (to >= 0 && (used < run || shape[to] == 1)) {
      strides[to] = used * step;
      used *= shape[to];
      --to;
    }
    if (used != run) return std::nullopt;
    if (from > 0) {
      step = x.strides()[from - 1];
      run = used = 1;
    }
  }
  return to < 0 ? std::optional(strides) : std::nullopt;
}

// d: the gradient of a reshape is the reshape back.
Tensor viewed(const char* op, const Tensor& x, const Dims& shape, const Dims& strides) {
  return record(op, {x}, alias(x, shape, strides, x.offset()),
                [from = x.shape()](const Tensor& g) -> Tensors { return {reshape(g, from)}; });
}

/// Zeros of `shape` with g written into the slice.
Tensor slice_backward(const Tensor& g, const Dims& shape, int dim, std::int64_t start,
                      std::int64_t end, std::int64_t step) {
  Tensor out = zeros(shape, g.options());
  {
    NoGrad guard;
    copy_(slice(out, dim, start, end, step), g);
  }
  return record("slice_backward", {g}, out,
                [=](const Tensor& gg) -> Tensors { return {slice(gg, dim, start, end, step)}; });
}

}  // namespace

Tensor view(const Tensor& x, const Dims& shape) {
  const Dims full_shape = complete_shape("view", x, shape);
  const auto strides = view_strides(x, full_shape);
  check(strides.has_value(), "view",
        "expected a shape that the strides {} of {} allow without a copy, got {}: use reshape",
        x.strides(), x.shape(), shape);
  return viewed("view", x, full_shape, *strides);
}

Tensor reshape(const Tensor& x, const Dims& shape) {
  const Dims full_shape = complete_shape("reshape", x, shape);
  if (full_shape == x.shape()) return x;
  const auto strides = view_strides(x, full_shape);
  return strides ? viewed("reshape", x, full_shape, *strides) : view(clone(x), full_shape);
}

Tensor flatten(const Tensor& x, int start, int end) {
  const int first = wrap_dim(start, x.dim(), "flatten"), last = wrap_dim(end, x.dim(), "flatten");
  check(first <= last, "flatten", "expected start <= end, got {} and {}", start, end);
  if (x.dim() == 0) return reshape(x, {1});
  Dims shape;
  std::int64_t merged = 1;
  for (int i = 0; i < x.dim(); ++i) {
    if (i >= first && i <= last) merged *= x.shape()[i];
    if (i < first || i > last) shape.push_back(x.shape()[i]);
    if (i == last) shape.push_back(merged);
  }
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Dims& order) {
  check(order.size() == x.dim(), "permute", "expected {} dimensions for shape {}, got {}", x.dim(),
        x.shape(), order);
  Dims shape, strides, inverse = Dims::filled(x.dim(), -1);
  for (int i = 0; i < order.size(); ++i) {
    const int from = wrap_dim(order[i], x.dim(), "permute");
    check(inverse[from] == -1, "permute", "expected each dimension once, got {}", order);
    inverse[from] = i;
    shape.push_back(x.shape()[from]);
    strides.push_back(x.strides()[from]);
  }
  return record("permute", {x}, alias(x, shape, strides, x.offset()),
                [inverse](const Tensor& g) -> Tensors { return {permute(g, inverse)}; });
}

Tensor transpose(const Tensor& x, int dim0, int dim1) {
  Dims order;
  for (int i = 0; i < x.dim(); ++i) order.push_back(i);
  const int a = wrap_dim(dim0, x.dim(), "transpose"), b = wrap_dim(dim1, x.dim(), "transpose");
  if (x.dim() > 0) std::swap(order[a], order[b]);
  return permute(x, order);
}

Tensor squeeze(const Tensor& x, int dim) {
  const int d = wrap_dim(dim, x.dim(), "squeeze");
  if (x.dim() == 0 || x.shape()[d] != 1) return x;
  Dims shape = x.shape(), strides = x.strides();
  shape.erase(d);
  strides.erase(d);
  return viewed("squeeze", x, shape, strides);
}

Tensor squeeze(const Tensor& x) {
  Tensor out = x;
  for (int d = x.dim() - 1; d >= 0; --d) out = squeeze(out, d);
  return out;
}

Tensor unsqueeze(const Tensor& x, int dim) {
  const int d = wrap_dim(dim, x.dim() + 1, "unsqueeze");
  Dims shape = x.shape(), strides = x.strides();
  strides.insert(d, d < x.dim() ? shape[d] * strides[d] : 1);
  shape.insert(d, 1);
  return viewed("unsqueeze", x, shape, strides);
}

Tensor expand(const Tensor& x, const Dims& shape) {
  const int lead = shape.size() - x.dim();
  check(lead >= 0, "expand", "expected at least {} dimensions, got {}", x.dim(), shape);
  Dims full_shape = shape, strides = Dims::filled(shape.size(), 0);
  for (int i = 0; i < shape.size(); ++i) {
    const std::int64_t have = i < lead ? 1 : x.shape()[i - lead];
    if (shape[i] == -1 && i >= lead) full_shape[i] = have;
    check(full_shape[i] >= 0 && (have == full_shape[i] || have == 1), "expand",
          "expected a shape that {} broadcasts to, got {}", x.shape(), shape);
    if (i >= lead && have == full_shape[i]) strides[i] = x.strides()[i - lead];
  }
  if (full_shape == x.shape()) return x;
  return record("expand", {x}, alias(x, full_shape, strides, x.offset()),
                [from = x.shape()](const Tensor& g) -> Tensors { return {sum_to(g, from)}; });
}

Tensor slice(const Tensor& x, int dim, std::int64_t start, std::int64_t end, std::int64_t step) {
  check(x.dim() > 0, "slice", "expected at least one dimension, got a scalar");
  check(step >= 1, "slice", "expected a step of at least 1, got {}: use flip to go backwards",
        step);
  const int d = wrap_dim(dim, x.dim(), "slice");
  const std::int64_t n = x.shape()[d];
  const auto into = [n](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + n : at, 0, n);
  };
  const std::int64_t first = into(start), last = std::max(first, into(end));
  Dims shape = x.shape(), strides = x.strides();
  step = std::min(step, std::max<std::int64_t>(n, 1));  // longer steps give the same element
  shape[d] = ceil_div(last - first, step);
  const std::int64_t offset = x.offset() + (shape[d] > 0 ? first * strides[d] : 0);
  strides[d] *= step;
  return record("slice", {x}, alias(x, shape, strides, offset),
                [from = x.shape(), d, first, last, step](const Tensor& g) -> Tensors {
                  return {slice_backward(g, from, d, first, last, step)};
                });
}

Tensor narrow(const Tensor& x, int dim, std::int64_t start, std::int64_t length) {
  const int d = wrap_dim(dim, x.dim(), "narrow");
  const std::int64_t n = x.dim() > 0 ? x.shape()[d] : 0;
  const std::int64_t first = start < 0 ? start + n : start;
  check(x.dim() > 0 && first >= 0 && length >= 0 && first <= n - length, "narrow",
        "expected a range inside dimension {} of {}, got start {} and length {}", dim, x.shape(),
        start, length);
  return slice(x, d, first, first + length);
}

Tensor select(const Tensor& x, int dim, std::int64_t index) {
  const int d = wrap_dim(dim, x.dim(), "select");
  const std::int64_t n = x.dim() > 0 ? x.shape()[d] : 0;
  check(index >= -n && index < n, "select",
        "expected an index in [{}, {}) of dimension {} of {}, got {}", -n, n, dim, x.shape(),
        index);
  const std::int64_t at = index < 0 ? index + n : index;
  return squeeze(slice(x, d, at, at + 1), d);
}

// The gradients of all pieces joined are x's.
Tensors split(const Tensor& x, std::int64_t size, int dim) {
  check(x.dim() > 0, "split", "expected at least one dimension, got a scalar");
  check(size > 0, "split", "expected pieces of at least 1, got {}", size);
  const int d = wrap_dim(dim, x.dim(), "split");
  const std::int64_t n = x.shape()[d];
  Tensors pieces;
  {
    NoGrad guard;
    for (std::int64_t at = 0; at < std::max<std::int64_t>(n, 1); at += size) {
      pieces.push_back(slice(x, d, at, std::min(n, at + size)));
    }
  }
  return record_all(
      "split", {x}, std::move(pieces),
      [from = x.shape(), options = x.options(), d, n, size](const Tensors& gs, Needs) -> Tensors {
        Tensors parts;
        for (std::size_t k = 0; k < gs.size(); ++k) {
          Dims shape = from;
          shape[d] = std::min(size, n - static_cast<std::int64_t>(k) * size);
          parts.push_back(gs[k].defined() ? gs[k] : zeros(shape, options));
        }
        return {cat(parts, d)};
      });
}

}  // namespace invar
