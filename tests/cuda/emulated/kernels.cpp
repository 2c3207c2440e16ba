#include <algorithm>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cuda/cub.hpp>
#include <invar/ops/cuda/elementwise.cu>
#include <invar/ops/cuda/fill.cu>
#include <invar/ops/cuda/index.cu>
#include <invar/ops/cuda/norm.cu>
#include <invar/ops/cuda/optimizer.cu>
#include <invar/ops/cuda/pool.cu>
#include <invar/ops/cuda/reduce.cu>
#include <invar/ops/cuda/table.hpp>
#include <numeric>

namespace invar::cuda {

void sort_pairs(const Tensor&, std::uint64_t* keys, std::int64_t* numbers, std::int64_t lines,
                std::int64_t n, int bits) {
  const OnDevice now;
  const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
  std::vector<std::pair<std::uint64_t, std::int64_t>> line(static_cast<std::size_t>(n));
  for (std::int64_t l = 0; l < lines; ++l, keys += n, numbers += n) {
    for (std::size_t i = 0; i < line.size(); ++i) line[i] = {keys[i], numbers[i]};
    std::stable_sort(line.begin(), line.end(), [mask](const auto& a, const auto& b) {
      return (a.first & mask) < (b.first & mask);
    });
    for (std::size_t i = 0; i < line.size(); ++i) std::tie(keys[i], numbers[i]) = line[i];
  }
}

void find_true(const Tensor& mask, std::int64_t* places, std::int64_t* count) {
  const OnDevice now;
  *count = 0;
  for (std::int64_t i = 0; i < mask.numel(); ++i) {
    if (mask.data<const bool>()[i]) places[(*count)++] = i;
  }
}

namespace {

/// A kernel of the CPU in the place of a library's.
template <auto kFunction>
struct Borrowed;
template <class Result, class... Args, Result (*kFunction)(Args...)>
struct Borrowed<kFunction> {
  static Result call(Args... args) {
    const OnDevice now;
    return kFunction(args...);
  }
};

}  // namespace

const Kernels& table() {
  static constexpr Kernels kTable{
      .unary = unary,
      .binary = binary,
      .compare = compare,
      .where = where,
      .copy = copy,
      .fill = fill,
      .arange = arange,
      .random = random,
      .reduce = reduce,
      .all_finite = all_finite,
      .arg_reduce = arg_reduce,
      .sort = sort,
      .cumsum = cumsum,
      .softmax = softmax,
      .conv2d = Borrowed<cpu::conv2d>::call,
      .conv2d_backward_input = Borrowed<cpu::conv2d_backward_input>::call,
      .conv2d_backward_weight = Borrowed<cpu::conv2d_backward_weight>::call,
      .max_pool2d = max_pool2d,
      .max_pool2d_select = max_pool2d_select,
      .max_pool2d_backward = max_pool2d_backward,
      .avg_pool2d = avg_pool2d,
      .avg_pool2d_backward = avg_pool2d_backward,
      .batch_norm_statistics = batch_norm_statistics,
      .batch_norm = batch_norm,
      .batch_norm_backward = batch_norm_backward,
      .layer_norm = layer_norm,
      .layer_norm_backward = layer_norm_backward,
      .matmul = Borrowed<cpu::matmul>::call,
      .cholesky = Borrowed<cpu::cholesky>::call,
      .solve_triangular = Borrowed<cpu::solve_triangular>::call,
      .eigh = Borrowed<cpu::eigh>::call,
      .svdvals = Borrowed<cpu::svdvals>::call,
      .index_outside = index_outside,
      .gather = gather,
      .scatter_add = scatter_add,
      .nonzero = nonzero,
      .sgd_step = sgd_step,
      .adam_step = adam_step,
      .lerp = lerp,
      .squared_norms = squared_norms,
  };
  return kTable;
}

}  // namespace invar::cuda
