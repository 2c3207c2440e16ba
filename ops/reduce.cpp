#include <algorithm>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

namespace invar {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The shapes of a reduction: x [2, 3, 4] over {1} has kept [2, 1, 4], and result [2, 4] unless
/// keepdim. `count` values become one.
struct Reduction {
  Dims from, kept, result;
  double count;
};

Reduction plan(const char* op, const Tensor& x, const Dims& dims, bool keepdim) {
  std::array<bool, kMaxDims> reduced{};
  for (std::int64_t dim : dims) {
    const auto d = static_cast<std::size_t>(wrap_dim(dim, x.dim(), op));
    check(!reduced[d], op, "expected each dimension once, got {}", dims);
    reduced[d] = true;
  }
  Reduction r{x.shape(), x.shape(), {}, 1};
  for (int d = 0; d < x.dim(); ++d) {
    const bool is_reduced = dims.empty() || reduced[static_cast<std::size_t>(d)];
    if (is_reduced) {
      r.count *= static_cast<double>(x.shape()[d]);
      r.kept[d] = 1;
    }
    if (!is_reduced || keepdim) r.result.push_back(r.kept[d]);
  }
  return r;
}

Tensor reduced(ReduceOp op, const char* name, const Tensor& x, const Reduction& r, DType dtype,
               Params params = {}) {
  Tensor out = empty(r.kept, {.dtype = dtype, .device = x.device()});
  kernel(&Kernels::reduce, x.device(), name)(op, params, x, out);
  return alias(out, r.result, contiguous_strides(r.result), 0);
}

Tensor reduced(ReduceOp op, const char* name, const Tensor& x, const Reduction& r) {
  return reduced(op, name, x, r, x.dtype());
}

/// Integers and booleans are summed in i64.
Tensor summable(const Tensor& x) { return is_floating(x.dtype()) ? x : to(x, DType::i64); }

}  // namespace

// d sum = the sum of d: g goes to every element
Tensor sum(const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = summable(autocast("sum", input));
  const Reduction r = plan("sum", x, dims, keepdim);
  return record("sum", {x}, reduced(ReduceOp::sum, "sum", x, r),
                [r](const Tensor& g) -> Tensors { return {expand(reshape(g, r.kept), r.from)}; });
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

Tensor mean(const Tensor& input, const Dims& dims, bool keepdim) {
  check_floating("mean", input.dtype());
  const Tensor x = autocast("sum", input);
  if (x.dtype() == DType::bf16) return to(mean(to(x, DType::f32), dims, keepdim), DType::bf16);
  return sum(x, dims, keepdim) / plan("mean", x, dims, keepdim).count;
}

// d var = 2 / (n - c) sum (x - mean) dx: the mean's own part cancels, because sum (x - mean) = 0
Tensor var(const Tensor& input, const Dims& dims, double correction, bool keepdim) {
  const Tensor x = autocast("var", input);
  check_floating("var", x.dtype());
  const Reduction r = plan("var", x, dims, keepdim);
  return record("var", {x}, reduced(ReduceOp::var, "var", x, r, x.dtype(), {correction}),
                [x = SavedTensor(x), r, dims,
                 divisor = std::max(r.count - correction, 0.0)](const Tensor& g) -> Tensors {
                  const Tensor v = x.get();
                  return {(v - mean(v, dims, true)) * (reshape(g, r.kept) * (2 / divisor))};
                });
}

// d std = d var / (2 std)
Tensor std(const Tensor& input, const Dims& dims, double correction, bool keepdim) {
  const Tensor x = autocast("std", input);
  check_floating("std", x.dtype());
  const Reduction r = plan("std", x, dims, keepdim);
  Tensor y = reduced(ReduceOp::std, "std", x, r, x.dtype(), {correction});
  return record("std", {x}, y,
                [x = SavedTensor(x), y = SavedTensor::output(y), r, dims,
                 divisor = std::max(r.count - correction, 0.0)](const Tensor& g) -> Tensors {
                  const Tensor v = x.get(), s = y.get(), varies = ne(s, 0);
                  const Tensor slope = where(varies, g / (where(varies, s, 1) * divisor), 0);
                  return {(v - mean(v, dims, true)) * reshape(slope, r.kept)};
                });
}

namespace {

/// Along the last dimension of x [..., n]: at i the product of all elements but the i-th, without a
/// division, in O(n). Pairs of the first and second half: what is missing at one element is its
/// partner and what is missing at their product. In f64, as the product itself: factors of a part
/// may leave f32 where the whole does not.
Tensor product_of_others(const Tensor& x) {
  const std::int64_t n = x.size(-1), half = n / 2;
  if (n <= 1) return ones_like(x);
  const Tensor a = slice(x, -1, 0, half), b = slice(x, -1, half, 2 * half);
  const Tensor single = slice(x, -1, 2 * half, n);  // if n is odd
  const Tensor others = product_of_others(cat({a * b, single}, -1));
  const Tensor of_pairs = slice(others, -1, 0, half);
  return cat({of_pairs * b, of_pairs * a, slice(others, -1, half, n)}, -1);
}

}  // namespace

// d prod = sum_i (product of the others) dx_i
Tensor prod(const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = summable(autocast("prod", input));
  const Reduction r = plan("prod", x, dims, keepdim);
  return record("prod", {x}, reduced(ReduceOp::prod, "prod", x, r),
                [x = SavedTensor(x), r](const Tensor& g) -> Tensors {
                  if (r.count == 1) return {reshape(g, r.kept)};
                  // Kept dimensions first, then the reduced ones as one.
                  Dims order, lines, inverse = r.from;
                  for (const bool is_reduced : {false, true}) {
                    for (int d = 0; d < r.from.size(); ++d) {
                      if ((r.kept[d] != r.from[d]) != is_reduced) continue;
                      inverse[d] = order.size();
                      order.push_back(d);
                      if (!is_reduced) lines.push_back(r.from[d]);
                    }
                  }
                  lines.push_back(static_cast<std::int64_t>(r.count));
                  const Tensor moved = permute(to(x.get(), DType::f64), order);
                  const Tensor others = to(product_of_others(reshape(moved, lines)), g.dtype());
                  return {permute(reshape(others, moved.shape()), inverse) * reshape(g, r.kept)};
                });
}

namespace {

/// Which elements of x won, so that y is their value; NaNs win.
Tensor winners_of(const Tensor& x, const Tensor& y) { return logical_or(eq(x, y), isnan(x)); }

// The gradient goes to the elements that won; ties share it.
Tensor extreme(ReduceOp op, const char* name, const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = summable(input);  // the kernel knows i64 only
  const Reduction r = plan(name, x, dims, keepdim);
  check(r.count > 0 || numel_of(r.result) == 0, name,
        "expected at least one value to choose from, got shape {} over dimensions {}", x.shape(),
        dims);
  Tensor y = reduced(op, name, x, r);
  if (!is_floating(input.dtype())) return to(y, input.dtype());
  return record(
      name, {x}, y,
      [x = SavedTensor(x), y = SavedTensor::output(y), r, dims](const Tensor& g) -> Tensors {
        const Tensor wins = winners_of(x.get(), reshape(y.get(), r.kept));
        const Tensor winners = to(sum(wins, dims, true), g.dtype());
        return {where(wins, reshape(g, r.kept) / winners, 0)};
      });
}

Tensor truth(ReduceOp op, const char* name, const Tensor& x, const Dims& dims, bool keepdim) {
  const Tensor b = to(x, DType::boolean);
  return reduced(op, name, b, plan(name, b, dims, keepdim));
}

}  // namespace

Tensor amax(const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme(ReduceOp::max, "amax", x, dims, keepdim);
}
Tensor amin(const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme(ReduceOp::min, "amin", x, dims, keepdim);
}
Tensor any(const Tensor& x, const Dims& dims, bool keepdim) {
  return truth(ReduceOp::any, "any", x, dims, keepdim);
}
Tensor all(const Tensor& x, const Dims& dims, bool keepdim) {
  return truth(ReduceOp::all, "all", x, dims, keepdim);
}

// d log(sum e^x) = sum e^(x - y) dx
Tensor logsumexp(const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = as_floating(autocast("logsumexp", input));
  const Reduction r = plan("logsumexp", x, dims, keepdim);
  Tensor y = reduced(ReduceOp::logsumexp, "logsumexp", x, r);
  return record("logsumexp", {x}, y,
                [x = SavedTensor(x), y = SavedTensor::output(y), r](const Tensor& g) -> Tensors {
                  // Where all are -inf: e^(-inf - 0) = 0, not e^(-inf + inf).
                  const Tensor total = y.get();
                  const Tensor shift = where(ne(total, -kInfinity), total, 0);
                  return {exp(x.get() - reshape(shift, r.kept)) * reshape(g, r.kept)};
                });
}

// p = 1: d|x|_1 = sum sign(x) dx.  p = 2: d|x|_2 = sum x / |x|_2 dx.
// p = inf: sign(x) dx of the largest |x|, shared among equals.
Tensor norm(const Tensor& input, double p, const Dims& dims, bool keepdim) {
  const Tensor x = autocast("norm", input);
  check_floating("norm", x.dtype());
  check(p == 1 || p == 2 || p == kInfinity, "norm", "expected p = 1, 2 or infinity, got {}", p);
  const Reduction r = plan("norm", x, dims, keepdim);
  const ReduceOp op = p == 1 ? ReduceOp::norm1 : p == 2 ? ReduceOp::norm2 : ReduceOp::norm_inf;
  Tensor y = reduced(op, "norm", x, r);
  return record("norm", {x}, y,
                [x = SavedTensor(x), y = SavedTensor::output(y), p, r,
                 dims](const Tensor& gradient) -> Tensors {
                  const Tensor v = x.get(), n = reshape(y.get(), r.kept);
                  const Tensor g = reshape(gradient, r.kept), positive = ne(n, 0);
                  if (p == 1) return {sign(v) * g};
                  if (p == 2) return {v * where(positive, g / where(positive, n, 1), 0)};
                  const Tensor wins = winners_of(abs(v), n);
                  const Tensor winners = to(sum(wins, dims, true), g.dtype());
                  return {where(wins, sign(v) * (g / winners), 0)};
                });
}

// --- along one dimension

namespace {

/// values and indices along dimension d, `size` of them.
ValuesAndIndices along(const Tensor& x, int d, std::int64_t size) {
  Dims shape = x.shape();
  if (!shape.empty()) shape[d] = size;
  return {empty(shape, x.options()), empty(shape, {.dtype = DType::i64, .device = x.device()})};
}

// The gradient goes to the index: dx_i = [i = index] dy
ValuesAndIndices arg_extreme(ReduceOp op, const char* name, const Tensor& x, int dim,
                             bool keepdim) {
  check(x.dtype() != DType::boolean, name,
        "expected numbers, got bool: convert it with "
        "to(x, DType::u8)");
  const int d = wrap_dim(dim, x.dim(), name);
  const std::int64_t n = x.dim() == 0 ? 1 : x.shape()[d];
  ValuesAndIndices out = along(x, d, 1);
  check(n > 0 || out.values.numel() == 0, name,
        "expected at least one value along dimension {}, got shape {}", dim, x.shape());
  kernel(&Kernels::arg_reduce, x.device(), name)(op, x, d, out.values, out.indices);
  const Tensor index = out.indices;
  if (!keepdim && x.dim() > 0) {
    Dims shape = out.values.shape();
    shape.erase(d);
    out.values = alias(out.values, shape, contiguous_strides(shape), 0);
    out.indices = alias(out.indices, shape, contiguous_strides(shape), 0);
  }
  out.values =
      record(name, {x}, out.values, [saved = SavedTensor(index), n, d](const Tensor& g) -> Tensors {
        const Tensor index = saved.get();
        Dims line = Dims::filled(index.dim(), 1);
        if (!line.empty()) line[d] = n;
        const Tensor place = reshape(arange(0, static_cast<double>(n), 1, index.options()), line);
        return {where(eq(place, index), reshape(g, index.shape()), 0)};
      });
  return out;
}

}  // namespace

ValuesAndIndices max(const Tensor& x, int dim, bool keepdim) {
  return arg_extreme(ReduceOp::max, "max", x, dim, keepdim);
}
ValuesAndIndices min(const Tensor& x, int dim, bool keepdim) {
  return arg_extreme(ReduceOp::min, "min", x, dim, keepdim);
}
Tensor argmax(const Tensor& x, int dim, bool keepdim) {
  return arg_extreme(ReduceOp::max, "argmax", x.detach(), dim, keepdim).indices;
}
Tensor argmax(const Tensor& x) { return argmax(flatten(x.detach()), 0); }
Tensor argmin(const Tensor& x, int dim, bool keepdim) {
  return arg_extreme(ReduceOp::min, "argmin", x.detach(), dim, keepdim).indices;
}
Tensor argmin(const Tensor& x) { return argmin(flatten(x.detach()), 0); }

namespace {

// The gradient goes where the elements came from.
ValuesAndIndices first_sorted(const char* name, const Tensor& x, std::int64_t k, int dim,
                              bool descending) {
  const int d = wrap_dim(dim, x.dim(), name);
  const std::int64_t n = x.dim() == 0 ? 1 : x.shape()[d];
  check(k >= 0 && k <= n, name, "expected k in [0, {}], dimension {} of {}, got {}", n, dim,
        x.shape(), k);
  if (x.dim() == 0) {
    const auto [value, index] = first_sorted(name, reshape(x, {1}), 1, 0, descending);
    return {reshape(value, {}), reshape(index, {})};
  }
  ValuesAndIndices out = along(x, d, k);
  kernel(&Kernels::sort, x.device(), name)(x, d, descending, out.values, out.indices);
  out.values =
      record(name, {x}, out.values,
             [indices = SavedTensor(out.indices), from = x.shape(), d](const Tensor& g) -> Tensors {
               return {scatter_add(zeros(from, g.options()), d, indices.get(), g)};
             });
  return out;
}

}  // namespace

ValuesAndIndices sort(const Tensor& x, int dim, bool descending) {
  return first_sorted("sort", x, x.dim() == 0 ? 1 : x.size(dim), dim, descending);
}
ValuesAndIndices topk(const Tensor& x, std::int64_t k, int dim, bool largest) {
  return first_sorted("topk", x, k, dim, largest);
}

namespace {

Tensor softmax_of(const char* name, const Tensor& x, int d, bool log) {
  Tensor y = empty(x.shape(), x.options());
  kernel(&Kernels::softmax, x.device(), name)(x, d, log, y);
  return y;
}

}  // namespace

// dy = y (dx - sum y dx)
Tensor softmax(const Tensor& input, int dim) {
  const Tensor x = as_floating(autocast("softmax", input));
  const int d = wrap_dim(dim, x.dim(), "softmax");
  Tensor y = softmax_of("softmax", x, d, false);
  return record("softmax", {x}, y, [y = SavedTensor::output(y), d](const Tensor& g) -> Tensors {
    const Tensor s = y.get(), gs = g * s;
    return {gs - s * sum(gs, {d}, true)};
  });
}

// dy = dx - sum e^y dx
Tensor log_softmax(const Tensor& input, int dim) {
  const Tensor x = as_floating(autocast("log_softmax", input));
  const int d = wrap_dim(dim, x.dim(), "log_softmax");
  Tensor y = softmax_of("log_softmax", x, d, true);
  return record("log_softmax", {x}, y, [y = SavedTensor::output(y), d](const Tensor& g) -> Tensors {
    return {g - exp(y.get()) * sum(g, {d}, true)};
  });
}

namespace {

// The gradient of a running sum is the running sum from the other end.
Tensor running_sum(const Tensor& x, int d, bool reverse) {
  Tensor y = empty(x.shape(), x.options());
  kernel(&Kernels::cumsum, x.device(), "cumsum")(x, d, reverse, y);
  return record("cumsum", {x}, y,
                [d, reverse](const Tensor& g) -> Tensors { return {running_sum(g, d, !reverse)}; });
}

}  // namespace

Tensor cumsum(const Tensor& x, int dim) {
  return running_sum(summable(autocast("cumsum", x)), wrap_dim(dim, x.dim(), "cumsum"), false);
}

Tensor normalize(const Tensor& input, int dim, double eps) {
  const Tensor x = autocast("normalize", input);
  return x / clamp(norm(x, 2, {dim}, true), eps, kInfinity);
}

}  // namespace invar
