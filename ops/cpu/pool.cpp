// Pooling. The inner loops run over the channels of a pixel, which lie side by side.
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/parallel.hpp>
#include <invar/ops/functors/pool.hpp>
#include <vector>

namespace invar::cpu {
namespace {

using functors::PoolSpan;
using functors::PoolWindows;

struct Sizes {
  std::int64_t n, h, w, c;
  explicit Sizes(const Tensor& t)
      : n(t.shape()[0]), h(t.shape()[1]), w(t.shape()[2]), c(t.shape()[3]) {}
};

/// Calls f(image, row) for every row of windows.
template <class F>
void for_rows(const Sizes& out, const F& f) {
  const std::int64_t row = std::max<std::int64_t>(out.w * out.c, 1);
  parallel_for(out.n * out.h, std::max<std::int64_t>(kGrain / row, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) f(i / out.h, i % out.h);
               });
}

}  // namespace

void max_pool2d(const Tensor& x, const PoolWindows& rows, const PoolWindows& columns,
                const Tensor& out, const Tensor& indices) {
  if (x.dtype() == DType::bf16) {
    return round_into(out,
                      [&](const Tensor& y) { max_pool2d(widened(x), rows, columns, y, indices); });
  }
  const Sizes from(x), to(out);
  visit_real(x.dtype(), "max_pool2d", [&]<class T>() {
    for_rows(to, [&](std::int64_t n, std::int64_t p) {
      const PoolSpan row = rows(p);
      const T* const image = x.data<const T>() + n * from.h * from.w * from.c;
      for (std::int64_t q = 0; q < to.w; ++q) {
        const PoolSpan column = columns(q);
        const std::int64_t at = ((n * to.h + p) * to.w + q) * to.c;
        T* const __restrict best = out.data<T>() + at;
        std::int32_t* const __restrict winner = indices.data<std::int32_t>() + at;
        const std::int64_t first = row.begin * from.w + column.begin;
        for (std::int64_t c = 0; c < to.c; ++c) {
          best[c] = image[first * to.c + c];
          winner[c] = static_cast<std::int32_t>(first);
        }
        for (std::int64_t h = row.begin; h < row.end; ++h) {
          for (std::int64_t w = column.begin; w < column.end; ++w) {
            const auto pixel = static_cast<std::int32_t>(h * from.w + w);
            const T* const __restrict v = image + pixel * to.c;
            for (std::int64_t c = 0; c < to.c; ++c) {
              const bool wins = functors::wins(v[c], best[c]);
              best[c] = wins ? v[c] : best[c];
              winner[c] = wins ? pixel : winner[c];
            }
          }
        }
      }
    });
  });
}

void max_pool2d_select(const Tensor& x, const Tensor& indices, const Tensor& out) {
  if (x.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { max_pool2d_select(widened(x), indices, y); });
  }
  const Sizes from(x), to(out);
  visit_real(x.dtype(), "max_pool2d_select", [&]<class T>() {
    for_rows(to, [&](std::int64_t n, std::int64_t p) {
      const T* const image = x.data<const T>() + n * from.h * from.w * from.c;
      for (std::int64_t q = 0; q < to.w; ++q) {
        const std::int64_t at = ((n * to.h + p) * to.w + q) * to.c;
        const std::int32_t* const pixel = indices.data<const std::int32_t>() + at;
        T* const y = out.data<T>() + at;
        for (std::int64_t c = 0; c < to.c; ++c) y[c] = image[pixel[c] * to.c + c];
      }
    });
  });
}

// Windows may overlap: a whole image at a time, so that no two threads add to one element.
void max_pool2d_backward(const Tensor& gradient, const Tensor& indices, const Tensor& out) {
  if (out.dtype() == DType::bf16) {
    return round_into(out,
                      [&](const Tensor& y) { max_pool2d_backward(widened(gradient), indices, y); });
  }
  const Sizes from(gradient), to(out);
  visit_real(out.dtype(), "max_pool2d_backward", [&]<class T>() {
    parallel_for(to.n, 1, [&](std::int64_t n, std::int64_t) {
      const std::int64_t size = to.h * to.w * to.c, windows = from.h * from.w;
      T* const image = out.data<T>() + n * size;
      const T* g = gradient.data<const T>() + n * windows * to.c;
      const std::int32_t* pixel = indices.data<const std::int32_t>() + n * windows * to.c;
      std::fill(image, image + size, T(0));
      for (std::int64_t i = 0; i < windows; ++i, g += to.c, pixel += to.c) {
        for (std::int64_t c = 0; c < to.c; ++c) image[pixel[c] * to.c + c] += g[c];
      }
    });
  });
}

// A window is summed row by row in T: the error grows with its height plus its width.
void avg_pool2d(const Tensor& x, const PoolWindows& rows, const PoolWindows& columns,
                const Tensor& out) {
  if (x.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { avg_pool2d(widened(x), rows, columns, y); });
  }
  const Sizes from(x), to(out);
  visit_real(x.dtype(), "avg_pool2d", [&]<class T>() {
    for_rows(to, [&](std::int64_t n, std::int64_t p) {
      const PoolSpan row = rows(p);
      const T* const image = x.data<const T>() + n * from.h * from.w * from.c;
      std::vector<T> line(static_cast<std::size_t>(to.c));
      for (std::int64_t q = 0; q < to.w; ++q) {
        const PoolSpan column = columns(q);
        T* const __restrict y = out.data<T>() + ((n * to.h + p) * to.w + q) * to.c;
        T* const __restrict partial = line.data();
        std::fill(y, y + to.c, T(0));
        for (std::int64_t h = row.begin; h < row.end; ++h) {
          std::fill(partial, partial + to.c, T(0));
          for (std::int64_t w = column.begin; w < column.end; ++w) {
            const T* const __restrict v = image + (h * from.w + w) * to.c;
            for (std::int64_t c = 0; c < to.c; ++c) partial[c] += v[c];
          }
          for (std::int64_t c = 0; c < to.c; ++c) y[c] += partial[c];
        }
        const auto divisor = static_cast<T>(row.divisor * column.divisor);
        for (std::int64_t c = 0; c < to.c; ++c) y[c] /= divisor;
      }
    });
  });
}

void avg_pool2d_backward(const Tensor& gradient, const PoolWindows& rows,
                         const PoolWindows& columns, const Tensor& out) {
  if (out.dtype() == DType::bf16) {
    return round_into(
        out, [&](const Tensor& y) { avg_pool2d_backward(widened(gradient), rows, columns, y); });
  }
  const Sizes from(gradient), to(out);
  visit_real(out.dtype(), "avg_pool2d_backward", [&]<class T>() {
    parallel_for(to.n, 1, [&](std::int64_t n, std::int64_t) {
      T* const image = out.data<T>() + n * to.h * to.w * to.c;
      const T* g = gradient.data<const T>() + n * from.h * from.w * to.c;
      std::fill(image, image + to.h * to.w * to.c, T(0));
      std::vector<T> share(static_cast<std::size_t>(to.c));
      for (std::int64_t p = 0; p < from.h; ++p) {
        const PoolSpan row = rows(p);
        for (std::int64_t q = 0; q < from.w; ++q, g += to.c) {
          const PoolSpan column = columns(q);
          const auto divisor = static_cast<T>(row.divisor * column.divisor);
          T* const __restrict s = share.data();
          for (std::int64_t c = 0; c < to.c; ++c) s[c] = g[c] / divisor;
          for (std::int64_t h = row.begin; h < row.end; ++h) {
            for (std::int64_t w = column.begin; w < column.end; ++w) {
              T* const __restrict pixel = image + (h * to.w + w) * to.c;
              for (std::int64_t c = 0; c < to.c; ++c) pixel[c] += s[c];
            }
          }
        }
      }
    });
  });
}

}  // namespace invar::cpu
