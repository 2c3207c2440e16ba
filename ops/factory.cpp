#include <algorithm>
#include <cmath>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/kernels.hpp>
#include <new>

namespace invar {
namespace {

/// The kernels write before requires_grad is set: a leaf may not be written to.
Tensor uninitialised(const Dims& shape, TensorOptions options) {
  options.requires_grad = false;
  return empty(shape, options);
}

Tensor finished(Tensor x, const TensorOptions& options) {
  if (options.requires_grad) x.requires_grad_();
  return x;
}

Tensor random(RandomOp op, const char* name, Params params, const Dims& shape,
              const TensorOptions& options, Generator& generator, std::uint64_t word_bytes) {
  Tensor out = uninitialised(shape, options);
  const GeneratorState at = generator.reserve(static_cast<std::uint64_t>(out.numel()), word_bytes);
  kernel(&Kernels::random, out.device(), name)(op, params, at.seed, at.offset, out);
  return finished(out, options);
}

}  // namespace

Tensor full(const Dims& shape, double value, TensorOptions options) {
  check_value("full", options.dtype, value);
  Tensor out = uninitialised(shape, options);
  kernel(&Kernels::fill, out.device(), "full")(value, out);
  return finished(out, options);
}

Tensor zeros(const Dims& shape, TensorOptions options) { return full(shape, 0, options); }
Tensor ones(const Dims& shape, TensorOptions options) { return full(shape, 1, options); }
Tensor full_like(const Tensor& x, double value) { return full(x.shape(), value, x.options()); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), x.options()); }
Tensor ones_like(const Tensor& x) { return ones(x.shape(), x.options()); }

Tensor tensor(std::span<const double> values, const Dims& shape, TensorOptions options) {
  check(numel_of(shape) == static_cast<std::int64_t>(values.size()), "tensor",
        "expected {} values for shape {}, got {}", numel_of(shape), shape, values.size());
  for (double value : values) check_value("tensor", options.dtype, value);
  Tensor on_cpu = empty(shape, {.dtype = DType::f64});
  std::copy(values.begin(), values.end(), on_cpu.data<double>());
  return finished(to(to(on_cpu, options.dtype), options.device), options);
}

Tensor tensor(std::initializer_list<double> values, TensorOptions options) {
  return tensor(std::span(values.begin(), values.size()),
                {static_cast<std::int64_t>(values.size())}, options);
}

Tensor arange(double start, double end, double step, TensorOptions options) {
  check(step != 0 && std::isfinite(start) && std::isfinite(end) && std::isfinite(step), "arange",
        "expected finite numbers and a step other than 0, got {}, {}, {}", start, end, step);
  const double count = std::max(0.0, std::ceil((end - start) / step));
  check(count <= static_cast<double>(kMaxElements), "arange",
        "expected at most 2^60 values, got {}", count);
  Tensor out = uninitialised({static_cast<std::int64_t>(count)}, options);
  kernel(&Kernels::arange, out.device(), "arange")(start, step, out);
  return finished(out, options);
}

Tensor linspace(double start, double end, std::int64_t steps, TensorOptions options) {
  check(steps >= 0, "linspace", "expected a number of steps, got {}", steps);
  check(std::isfinite(end - start), "linspace",
        "expected ends a finite distance apart, got {} and {}", start, end);
  const double step = steps > 1 ? (end - start) / static_cast<double>(steps - 1) : 0;
  Tensor out = uninitialised({steps}, options);
  kernel(&Kernels::arange, out.device(), "linspace")(start, step, out);
  // start + (n-1) step may miss the end by a rounding error.
  if (steps > 1) {
    const Tensor last = alias(out, {1}, {1}, steps - 1);
    kernel(&Kernels::fill, out.device(), "linspace")(end, last);
  }
  return finished(out, options);
}

Tensor eye(std::int64_t n, std::int64_t m, TensorOptions options) {
  if (m == -1) m = n;
  Tensor out = uninitialised({n, m}, options);
  kernel(&Kernels::fill, out.device(), "eye")(0, out);
  if (std::min(n, m) > 0) {
    kernel(&Kernels::fill, out.device(), "eye")(1, alias(out, {std::min(n, m)}, {m + 1}, 0));
  }
  return finished(out, options);
}

Tensor rand(const Dims& shape, TensorOptions options, Generator& generator) {
  return random(RandomOp::uniform, "rand", {}, shape, options, generator, size_of(options.dtype));
}

Tensor randn(const Dims& shape, TensorOptions options, Generator& generator) {
  return random(RandomOp::normal, "randn", {}, shape, options, generator, size_of(options.dtype));
}

Tensor randint(std::int64_t low, std::int64_t high, const Dims& shape, TensorOptions options,
               Generator& generator) {
  check(low < high, "randint", "expected low < high, got {} and {}", low, high);
  // Beyond it a draw would be rounded, perhaps to `high`. Draws are made in f64.
  const int bits = options.dtype == DType::f32 ? 24 : 53;
  const std::int64_t exact = std::int64_t{1} << bits;
  check(low >= -exact && high <= exact, "randint",
        "expected bounds within 2^{} for dtype {}, got {} and {}", bits, options.dtype, low, high);
  check_value("randint", options.dtype, static_cast<double>(low));
  check_value("randint", options.dtype, static_cast<double>(high - 1));
  return random(RandomOp::integer, "randint", {static_cast<double>(low), static_cast<double>(high)},
                shape, options, generator, 8);
}

Tensor bernoulli(double p, const Dims& shape, TensorOptions options, Generator& generator) {
  check(p >= 0 && p <= 1, "bernoulli", "expected a probability in [0, 1], got {}", p);
  return random(RandomOp::bernoulli, "bernoulli", {p}, shape, options, generator, 4);
}

Tensor randperm(std::int64_t n, Generator& generator) {
  check(n >= 0, "randperm", "expected n >= 0, got {}", n);
  Tensor out = empty({n}, {.dtype = DType::i64});  // says so where there is no room
  const GeneratorState at = generator.reserve(static_cast<std::uint64_t>(n), 8);
  try {
    const auto order = random_permutation(at.seed, at.offset, static_cast<std::uint64_t>(n));
    std::copy(order.begin(), order.end(), out.data<std::int64_t>());
  } catch (const std::bad_alloc&) {
    fail("randperm", "out of memory: expected room for 24 bytes for each of {} numbers", n);
  }
  return out;
}

}  // namespace invar
