#include <bit>
#include <cmath>
#include <invar/core/integers.hpp>
#include <invar/ops/cuda/cub.hpp>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/launch.cuh>
#include <invar/ops/functors/index.hpp>
#include <invar/ops/functors/reduce.hpp>

namespace invar::cuda {

using functors::with_zero;
using functors::without;

std::optional<std::int64_t> index_outside(const Tensor& index, std::int64_t size) {
  if (index.numel() == 0) return std::nullopt;
  const Scratch<std::int64_t> found(index, 2);
  fold("index", index, functors::plan_fold(index, Dims::filled(index.dim(), 1)),
       functors::IndexOutside{index.data<std::int64_t>(), size, found.data()});
  const auto [place, value] = read_back<std::int64_t, 2>("index", index, found.data());
  return place < 0 ? std::nullopt : std::optional(value);
}

namespace {

/// Calls f with an unsigned integer of an element's size: what is only moved needs no other type.
template <class F>
void visit_size(DType dtype, const F& f) {
  switch (size_of(dtype)) {
    case 1:
      return f.template operator()<std::uint8_t>();
    case 2:
      return f.template operator()<std::uint16_t>();
    case 4:
      return f.template operator()<std::uint32_t>();
    default:
      return f.template operator()<std::uint64_t>();
  }
}

}  // namespace

void gather(const Tensor& x, int dim, const Tensor& index, const Tensor& out) {
  const auto operands = functors::strided<3>(
      out.shape(), {out.strides(), index.strides(), with_zero(x.strides(), dim)});
  visit_size(x.dtype(), [&]<class T>() {
    for_each("gather", out, out.numel(),
             functors::Gather<T>{operands, static_cast<T*>(out.raw_data()),
                                 index.data<const std::int64_t>(),
                                 static_cast<const T*>(x.raw_data()), x.strides()[dim]});
  });
}

namespace {

/// How far x reaches from its first element.
std::int64_t reach(const Tensor& x) {
  std::int64_t furthest = 0;
  for (int d = 0; d < x.dim(); ++d) furthest += (x.shape()[d] - 1) * x.strides()[d];
  return furthest;
}

}  // namespace

// What meets in one element of out is added by one thread, in ascending order along `dim`. If there
// are lines enough, each has a thread. Otherwise src is sorted by where it goes (the sort keeps the
// order of what goes to one place) and each run is summed by a thread: the costs are a radix sort
// of 16 bytes per element, and that a run which is much longer than all others is waited for.
void scatter_add(int dim, const Tensor& index, const Tensor& src, const Tensor& out) {
  constexpr const char* kOp = "scatter_add";
  constexpr std::int64_t kManyLines = 1 << 15;
  const std::int64_t n = index.numel();
  if (n == 0) return;
  const std::int64_t terms = index.shape()[dim], lines = n / terms;
  const auto* const indices = index.data<const std::int64_t>();
  if ((terms == 1 || lines >= kManyLines) && out.dtype() != DType::bf16) {
    const auto places = functors::strided<3>(
        without(index.shape(), dim),
        {without(index.strides(), dim), without(src.strides(), dim), without(out.strides(), dim)});
    return visit_number(out.dtype(), kOp, [&]<class T>() {
      for_each(
          kOp, out, lines,
          functors::ScatterLine<T>{places, indices, src.data<const T>(), out.data<T>(), terms,
                                   index.strides()[dim], src.strides()[dim], out.strides()[dim]});
    });
  }
  const Scratch<std::uint64_t> keys(out, n);
  const Scratch<std::int64_t> numbers(out, n);
  const auto operands =
      functors::strided<2>(index.shape(), {index.strides(), with_zero(out.strides(), dim)});
  for_each(
      kOp, out, n,
      functors::ScatterKeys{operands, indices, out.strides()[dim], keys.data(), numbers.data()});
  const int bits = std::max<int>(std::bit_width(static_cast<std::uint64_t>(reach(out))), 1);
  sort_pairs(out, keys.data(), numbers.data(), 1, n, bits);
  functors::visit_stored_number(out.dtype(), kOp, [&]<class S>() {
    for_each(kOp, out, n,
             functors::ScatterRuns<S>{keys.data(), numbers.data(), n,
                                      functors::strided<1>(src.shape(), {src.strides()}),
                                      src.data<const S>(), out.data<S>()});
  });
}

Tensor nonzero(const Tensor& x) {
  const TensorOptions i64{.dtype = DType::i64, .device = x.device()};
  if (x.numel() == 0) return empty({0, x.dim()}, i64);
  const Tensor mask = empty(x.shape(), {.dtype = DType::boolean, .device = x.device()});
  copy(x, mask);
  const Tensor places = empty({x.numel()}, i64);
  const Scratch<std::int64_t> found(x, 1);
  find_true(mask, places.data<std::int64_t>(), found.data());
  const std::int64_t count = read_back<std::int64_t, 1>("nonzero", x, found.data())[0];
  const Tensor out = empty({count, x.dim()}, i64);
  functors::Coordinates coordinates{
      places.data<const std::int64_t>(), x.dim(), {}, out.data<std::int64_t>()};
  for (int d = 0; d < x.dim(); ++d) coordinates.shape[d] = x.shape()[d];
  for_each("nonzero", out, count, coordinates);
  return out;
}

// A line of n elements is cut into about sqrt(n) pieces, each gone through by a thread, twice.
void cumsum(const Tensor& x, int dim, bool reverse, const Tensor& out) {
  if (x.numel() == 0) return;
  const bool scalar = x.dim() == 0;
  const auto along = [&](const Tensor& t) { return scalar ? 1 : t.strides()[dim]; };
  const std::int64_t n = scalar ? 1 : x.shape()[dim];
  const std::int64_t piece =
      std::max<std::int64_t>(static_cast<std::int64_t>(std::sqrt(static_cast<double>(n))), 64);
  const std::int64_t pieces = ceil_div(n, piece);
  const auto lines = functors::strided<2>(without(x.shape(), dim),
                                          {without(x.strides(), dim), without(out.strides(), dim)});
  functors::visit_stored_number(x.dtype(), "cumsum", [&]<class S>() {
    using Sum = functors::Accumulator<functors::Computed<S>>;
    const Scratch<Sum> sums(x, lines.count * pieces);
    const functors::RunningSums<S, Sum> all{lines,    x.data<const S>(), out.data<S>(), n,
                                            along(x), along(out),        piece,         pieces,
                                            reverse,  sums.data()};
    for_each("cumsum", x, lines.count * pieces, functors::PieceSum<S, Sum>{all});
    for_each("cumsum", x, lines.count, functors::PieceStart<Sum>{sums.data(), pieces});
    for_each("cumsum", x, lines.count * pieces, functors::PieceRun<S, Sum>{all});
  });
}

// Whole lines are sorted by keys of 8 bytes, as many at once as 2^31 elements allow.
void sort(const Tensor& x, int dim, bool descending, const Tensor& values, const Tensor& indices) {
  if (values.numel() == 0) return;
  const bool scalar = x.dim() == 0;
  const auto along = [&](const Tensor& t) { return scalar ? 1 : t.strides()[dim]; };
  const std::int64_t n = scalar ? 1 : x.shape()[dim], wanted = scalar ? 1 : values.shape()[dim];
  constexpr std::int64_t kMost = (std::int64_t{1} << 31) - 1;
  check(n <= kMost, "sort", "expected fewer than 2^31 elements in a line on a GPU, got {}", n);
  const auto lines = functors::strided<3>(
      without(x.shape(), dim),
      {without(x.strides(), dim), without(values.strides(), dim), without(indices.strides(), dim)});
  const std::int64_t at_once = std::min(lines.count, kMost / n);
  const Scratch<std::uint64_t> keys(x, at_once * n);
  const Scratch<std::int64_t> numbers(x, at_once * n);
  functors::visit_stored_number(x.dtype(), "sort", [&]<class S>() {
    constexpr int kBits = 8 * sizeof(functors::Computed<S>);
    for (std::int64_t first = 0; first < lines.count; first += at_once) {
      const std::int64_t count = std::min(at_once, lines.count - first);
      for_each("sort", x, count * n,
               functors::SortKeys<S>{lines, first, n, x.data<const S>(), along(x), descending,
                                     keys.data(), numbers.data()});
      sort_pairs(x, keys.data(), numbers.data(), count, n, kBits);
      for_each("sort", x, count * wanted,
               functors::SortResults<S>{lines, first, n, wanted, x.data<const S>(), numbers.data(),
                                        values.data<S>(), indices.data<std::int64_t>(), along(x),
                                        along(values), along(indices)});
    }
  });
}

}  // namespace invar::cuda
