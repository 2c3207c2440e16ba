#include <invar/core/autograd/record.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/functors/pool.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/pool.hpp>
#include <limits>

namespace invar {
namespace {

using functors::PoolWindows;

void check_image(const char* op, const Tensor& x) {
  check_floating(op, x.dtype());
  check(x.dim() == 4 && x.shape()[1] > 0 && x.shape()[2] > 0, op,
        "expected input [N,H,W,C] with H and W at least 1, got {}", x.shape());
}

struct Windows {
  PoolWindows rows, columns;
};

/// Checks the arguments and counts the windows.
Windows sliding_windows(const char* op, const Tensor& x, Size2 kernel, Size2 stride, Size2 padding,
                        bool count_include_pad) {
  check_image(op, x);
  check_size(op, "kernel", kernel, 1);
  check_size(op, "stride", stride, 1);
  check_size(op, "padding", padding, 0);
  check(padding.height <= kernel.height / 2 && padding.width <= kernel.width / 2, op,
        "expected padding of at most half of the kernel {}x{}, got {}x{}", kernel.height,
        kernel.width, padding.height, padding.width);
  const auto along = [&](std::int64_t size, std::int64_t kernel, std::int64_t stride,
                         std::int64_t padding) -> PoolWindows {
    return {.size = size,
            .count = window_count(size, kernel, stride, padding, 1),
            .kernel = kernel,
            .stride = stride,
            .padding = padding,
            .count_include_pad = count_include_pad};
  };
  const Windows windows{along(x.shape()[1], kernel.height, stride.height, padding.height),
                        along(x.shape()[2], kernel.width, stride.width, padding.width)};
  check(windows.rows.count > 0 && windows.columns.count > 0, op,
        "expected an image of at least {}x{} (padding included), got {}: use a smaller kernel",
        kernel.height, kernel.width, x.shape());
  return windows;
}

/// Checks the arguments too.
Windows adaptive_windows(const char* op, const Tensor& x, Size2 output) {
  check_image(op, x);
  check_size(op, "output", output, 1);
  return {{.size = x.shape()[1], .count = output.height, .adaptive = true},
          {.size = x.shape()[2], .count = output.width, .adaptive = true}};
}

// --- maxima: `indices` [N, P, Q, C] (i32) names the winners by row * W + column

Tensor max_pool2d_backward(const Tensor& gradient, const Tensor& indices, const Dims& shape);

/// y[n, p, q, c] = x[n, indices[n, p, q, c], c]
// dy = the same selection of dx
Tensor max_pool2d_select(const Tensor& input, const Tensor& indices) {
  const Tensor x = contiguous(input);
  Tensor out = empty(indices.shape(), x.options());
  kernel(&Kernels::max_pool2d_select, x.device(), "max_pool2d_select")(x, indices, out);
  return record("max_pool2d_select", {x}, out,
                [indices, shape = x.shape()](const Tensor& g) -> Tensors {
                  return {max_pool2d_backward(g, indices, shape)};
                });
}

/// x'[n, k, c] = sum of g[n, p, q, c] over all p, q with indices[n, p, q, c] = k: the transposed
/// map.
Tensor max_pool2d_backward(const Tensor& gradient, const Tensor& indices, const Dims& shape) {
  const Tensor g = contiguous(gradient);
  Tensor out = empty(shape, g.options());
  kernel(&Kernels::max_pool2d_backward, g.device(), "max_pool2d_backward")(g, indices, out);
  return record("max_pool2d_backward", {g}, out,
                [indices](const Tensor& c) -> Tensors { return {max_pool2d_select(c, indices)}; });
}

// dy[w] = dx[winner of w]
Tensor max_over(const char* op, const Tensor& input, const Windows& windows) {
  const Dims& s = input.shape();
  check(s[1] * s[2] <= std::numeric_limits<std::int32_t>::max(), op,
        "expected an image of fewer than 2^31 pixels, got {}", s);
  const Tensor x = contiguous(input);
  const Dims shape{s[0], windows.rows.count, windows.columns.count, s[3]};
  Tensor out = empty(shape, x.options());
  const Tensor indices = empty(shape, {.dtype = DType::i32, .device = x.device()});
  kernel(&Kernels::max_pool2d, x.device(), op)(x, windows.rows, windows.columns, out, indices);
  return record(op, {x}, out, [indices, s](const Tensor& g) -> Tensors {
    return {max_pool2d_backward(g, indices, s)};
  });
}

// --- averages: linear maps of x, given by the windows of rows and of columns

Tensor avg_pool2d_backward(const Tensor& gradient, const Windows& windows);

// dy = the same averages of dx
Tensor average_over(const char* op, const Tensor& input, const Windows& windows) {
  const auto& [rows, columns] = windows;
  const Tensor x = contiguous(input);
  Tensor out = empty({x.shape()[0], rows.count, columns.count, x.shape()[3]}, x.options());
  kernel(&Kernels::avg_pool2d, x.device(), op)(x, rows, columns, out);
  return record(op, {x}, out, [windows](const Tensor& g) -> Tensors {
    return {avg_pool2d_backward(g, windows)};
  });
}

/// Every element of g, divided, added to all of its window: the transposed map.
Tensor avg_pool2d_backward(const Tensor& gradient, const Windows& windows) {
  const auto& [rows, columns] = windows;
  const Tensor g = contiguous(gradient);
  Tensor out = empty({g.shape()[0], rows.size, columns.size, g.shape()[3]}, g.options());
  kernel(&Kernels::avg_pool2d_backward, g.device(), "avg_pool2d_backward")(g, rows, columns, out);
  return record("avg_pool2d_backward", {g}, out, [windows](const Tensor& c) -> Tensors {
    return {average_over("avg_pool2d", c, windows)};
  });
}

}  // namespace

Tensor max_pool2d(const Tensor& x, Size2 kernel_size, std::optional<Size2> stride, Size2 padding) {
  return max_over(
      "max_pool2d", x,
      sliding_windows("max_pool2d", x, kernel_size, stride.value_or(kernel_size), padding, false));
}

Tensor avg_pool2d(const Tensor& x, Size2 kernel_size, std::optional<Size2> stride, Size2 padding,
                  bool count_include_pad) {
  return average_over("avg_pool2d", x,
                      sliding_windows("avg_pool2d", x, kernel_size, stride.value_or(kernel_size),
                                      padding, count_include_pad));
}

Tensor adaptive_max_pool2d(const Tensor& x, Size2 output) {
  return max_over("adaptive_max_pool2d", x, adaptive_windows("adaptive_max_pool2d", x, output));
}

Tensor adaptive_avg_pool2d(const Tensor& x, Size2 output) {
  return average_over("adaptive_avg_pool2d", x, adaptive_windows("adaptive_avg_pool2d", x, output));
}

}  // namespace invar
