#include <fmt/ranges.h>

#include <algorithm>
#include <invar/core/shape.hpp>

namespace invar {

void Dims::insert(int at, std::int64_t value) {
  internal_check(at >= 0 && at <= size_, "shape", "insert at {} of {}", at, size_);
  push_back(value);
  std::rotate(begin() + at, end() - 1, end());
}

void Dims::erase(int at) {
  internal_check(at >= 0 && at < size_, "shape", "erase at {} of {}", at, size_);
  std::copy(begin() + at + 1, end(), begin() + at);
  --size_;
}

std::string to_string(const Dims& dims) {
  return fmt::format("[{}]", fmt::join(dims.begin(), dims.end(), ", "));
}

std::optional<std::int64_t> try_numel_of(const Dims& shape) {
  std::int64_t n = 1;
  bool empty = false;
  for (std::int64_t d : shape) {
    empty |= d == 0;
    if (d < 0 || __builtin_mul_overflow(n, std::max<std::int64_t>(d, 1), &n) || n > kMaxElements) {
      return std::nullopt;
    }
  }
  return empty ? 0 : n;
}

std::int64_t numel_of(const Dims& shape) {
  const std::optional<std::int64_t> n = try_numel_of(shape);
  check(n.has_value(), "shape", "expected sizes of at least 0 and at most 2^60 elements, got {}",
        shape);
  return *n;
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides = Dims::filled(shape.size(), 1);
  std::int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<std::int64_t>(shape[i], 1);
  }
  return strides;
}

bool is_contiguous(const Dims& shape, const Dims& strides) {
  std::int64_t step = 1;
  bool dense = true;
  for (int i = shape.size() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1) {
      dense &= strides[i] == step;
      step *= shape[i];
    }
  }
  return dense;
}

Dims broadcast_shapes(const Dims& a, const Dims& b, std::string_view op) {
  if (a == b) return a;
  const int rank = std::max(a.size(), b.size());
  Dims out = Dims::filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    const std::int64_t x = i <= a.size() ? a[a.size() - i] : 1;
    const std::int64_t y = i <= b.size() ? b[b.size() - i] : 1;
    check(
        x == y || x == 1 || y == 1, op,
        "expected shapes that broadcast, got {} and {}: sizes, aligned at the last dimension, must "
        "be equal or 1",
        a, b);
    out[rank - i] = x == 1 ? y : x;
  }
  return out;
}

int wrap_dim(std::int64_t dim, int rank, std::string_view op) {
  const int bound = std::max(rank, 1);
  check(dim >= -bound && dim < bound, op, "expected a dimension in [{}, {}], got {}", -bound,
        bound - 1, dim);
  return static_cast<int>(dim < 0 ? dim + bound : dim);
}

}  // namespace invar
