#include <algorithm>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cuda/conv_plain.cu>
#include <invar/ops/cuda/cub.hpp>
#include <invar/ops/cuda/elementwise.cu>
#include <invar/ops/cuda/fill.cu>
#include <invar/ops/cuda/image.cu>
#include <invar/ops/cuda/index.cu>
#include <invar/ops/cuda/norm.cu>
#include <invar/ops/cuda/optimizer.cu>
#include <invar/ops/cuda/pool.cu>
#include <invar/ops/cuda/reduce.cu>
#include <invar/ops/cuda/table.cpp>
#include <invar/ops/machine.hpp>
#include <numeric>
#if __has_include(<cublasLt.h>)
#include <invar/ops/cuda/linalg.cu>
#include <invar/ops/cuda/matmul.cpp>
#endif

namespace invar::cuda {

void sort_pairs(const Tensor&, std::uint64_t* all_keys, std::int64_t* all_numbers,
                std::int64_t lines, std::int64_t n, int bits) {
  run_on_device([=] {
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
    std::vector<std::pair<std::uint64_t, std::int64_t>> line(static_cast<std::size_t>(n));
    for (std::int64_t l = 0; l < lines; ++l) {
      std::uint64_t* const keys = all_keys + l * n;
      std::int64_t* const numbers = all_numbers + l * n;
      for (std::size_t i = 0; i < line.size(); ++i) line[i] = {keys[i], numbers[i]};
      std::stable_sort(line.begin(), line.end(), [mask](const auto& a, const auto& b) {
        return (a.first & mask) < (b.first & mask);
      });
      for (std::size_t i = 0; i < line.size(); ++i) std::tie(keys[i], numbers[i]) = line[i];
    }
  });
}

void find_true(const Tensor& mask, std::int64_t* places, std::int64_t* count) {
  const OnDevice now;
  *count = 0;
  for (std::int64_t i = 0; i < mask.numel(); ++i) {
    if (mask.data<const bool>()[i]) places[(*count)++] = i;
  }
}

// Without cuDNN every convolution is computed by the plain kernels.

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out) {
  if (x.numel() > 0) return plain::conv2d(x, weight, bias, o, out);
  if (bias.defined()) return copy(bias, out);
  fill(0, out);
}

void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  plain::conv2d_backward_input(gradient, weight, o, out);
}

void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  plain::conv2d_backward_weight(gradient, x, o, out);
}

#if !__has_include(<cublasLt.h>)
// Kernels of the CPU in the place of those that call NVIDIA's libraries.

void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& out) {
  run_on_device([=] { cpu::matmul(a, b, bias, out); });
}

void cholesky(const Tensor& x, const Tensor& out) {
  const OnDevice now;
  cpu::cholesky(x, out);
}

void solve_triangular(const Tensor& a, bool upper, const Tensor& x) {
  const OnDevice now;
  cpu::solve_triangular(a, upper, x);
}

void eigh(const Tensor& x, const Tensor& values, const Tensor& vectors) {
  const OnDevice now;
  cpu::eigh(x, values, vectors);
}

void svdvals(const Tensor& x, const Tensor& values) {
  const OnDevice now;
  cpu::svdvals(x, values);
}
#endif

}  // namespace invar::cuda

std::string invar::describe_gpu(Device) { return "an emulated GPU"; }
