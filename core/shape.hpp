#pragma once
// Dims: the shape or the strides of a tensor, at most kMaxDims numbers stored in place (a tensor is
// made without a heap allocation for its geometry). Strides count elements, not bytes.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <invar/core/error.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace invar {

inline constexpr int kMaxDims = 8;

class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values) { assign(values.begin(), values.size()); }
  explicit Dims(std::span<const std::int64_t> values) { assign(values.data(), values.size()); }
  /// `rank` times `value`.
  static Dims filled(int rank, std::int64_t value) {
    check(rank <= kMaxDims, "shape", "expected at most {} dimensions, got {}", kMaxDims, rank);
    Dims d;
    for (int i = 0; i < rank; ++i) d.values_[i] = value;
    d.size_ = rank;
    return d;
  }

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::int64_t operator[](int i) const { return values_[i]; }
  std::int64_t& operator[](int i) { return values_[i]; }
  std::int64_t back() const { return values_[size_ - 1]; }
  const std::int64_t* begin() const { return values_.data(); }
  const std::int64_t* end() const { return values_.data() + size_; }
  std::int64_t* begin() { return values_.data(); }
  std::int64_t* end() { return values_.data() + size_; }
  operator std::span<const std::int64_t>() const {
    return {begin(), static_cast<std::size_t>(size_)};
  }

  /// The first n, or the last n, 0 <= n <= size().
  Dims first(int n) const { return Dims(std::span(begin(), begin() + n)); }
  Dims last(int n) const { return Dims(std::span(end() - n, end())); }

  void push_back(std::int64_t value) {
    check(size_ < kMaxDims, "shape", "expected at most {} dimensions", kMaxDims);
    values_[size_++] = value;
  }
  void insert(int at, std::int64_t value);
  void erase(int at);

  bool operator==(const Dims& other) const {
    if (size_ != other.size_) return false;
    for (int i = 0; i < size_; ++i) {
      if (values_[i] != other.values_[i]) return false;
    }
    return true;
  }

 private:
  void assign(const std::int64_t* values, std::size_t n) {
    check(n <= kMaxDims, "shape", "expected at most {} dimensions, got {}", kMaxDims, n);
    for (std::size_t i = 0; i < n; ++i) values_[i] = values[i];
    size_ = static_cast<int>(n);
  }

  std::array<std::int64_t, kMaxDims> values_{};
  int size_ = 0;
};

/// "[2, 3]".
std::string to_string(const Dims& dims);

/// Elements of the largest tensor: its bytes and strides still fit 64 bits.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 60;

/// Number of elements; none if a size is negative or there are more than kMaxElements, sizes of 0
/// left out (strides are products of sizes, so they would overflow in an empty tensor too).
std::optional<std::int64_t> try_numel_of(const Dims& shape);

/// Number of elements; Error where try_numel_of gives none.
std::int64_t numel_of(const Dims& shape);

/// Row-major strides of a dense tensor.
Dims contiguous_strides(const Dims& shape);

/// True iff the elements, in row-major order, lie at 0, 1, 2, ... (strides of size-1 dimensions do
/// not matter; an empty tensor is contiguous).
bool is_contiguous(const Dims& shape, const Dims& strides);

/// The shape both broadcast to: aligned at the last dimension, sizes equal or one of them 1.
Dims broadcast_shapes(const Dims& a, const Dims& b, std::string_view op);

/// Maps a dimension in [-rank, rank) to [0, rank); `op` is named in the error. Rank 0 allows 0, -1.
int wrap_dim(std::int64_t dim, int rank, std::string_view op);

}  // namespace invar

template <>
struct fmt::formatter<invar::Dims> : fmt::formatter<std::string> {
  auto format(const invar::Dims& d, fmt::format_context& ctx) const {
    return fmt::formatter<std::string>::format(invar::to_string(d), ctx);
  }
};
