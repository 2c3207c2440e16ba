#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/binary.hpp>
#include <invar/ops/functors/convert.hpp>
#include <invar/ops/functors/strided.hpp>

namespace invar::cpu {

std::optional<std::int64_t> index_outside(const Tensor& index, std::int64_t size) {
  std::optional<std::int64_t> found;
  if (index.numel() == 0) return found;
  const LoopNest<1> nest(index.shape(), {index.strides()});
  const std::int64_t step = nest.strides[0][nest.shape.size() - 1];
  nest.run(0, index.numel(), [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
    const std::int64_t* run = index.data<std::int64_t>() + at[0];
    for (std::int64_t i = 0; i < length && !found; ++i) {
      if (run[i * step] < 0 || run[i * step] >= size) found = run[i * step];
    }
  });
  return found;
}

void gather(const Tensor& x, int dim, const Tensor& index, const Tensor& out) {
  const LoopNest<3> nest(out.shape(),
                         {out.strides(), index.strides(), functors::with_zero(x.strides(), dim)});
  const int last = nest.shape.size() - 1;
  const std::int64_t out_step = nest.strides[0][last], index_step = nest.strides[1][last],
                     x_step = nest.strides[2][last], x_stride = x.strides()[dim];
  const std::int64_t* const indices = index.data<std::int64_t>();
  visit(x.dtype(), [&]<class T>() {
    const auto row = [&](const std::array<std::int64_t, 3>& at, std::int64_t length) {
      T* const to = out.data<T>() + at[0];
      const std::int64_t* const which = indices + at[1];
      const T* const from = x.data<T>() + at[2];
      if (index_step == 0) {  // whole rows, as index_select makes them
        const T* const source = from + *which * x_stride;
        if (out_step == 1 && x_step == 1) {
          std::copy_n(source, length, to);
        } else {
          for (std::int64_t i = 0; i < length; ++i) to[i * out_step] = source[i * x_step];
        }
      } else {
        for (std::int64_t i = 0; i < length; ++i) {
          to[i * out_step] = from[i * x_step + which[i * index_step] * x_stride];
        }
      }
    };
    parallel_for(out.numel(), kGrain,
                 [&](std::int64_t begin, std::int64_t end) { nest.run(begin, end, row); });
  });
}

// Threads share the coordinates other than `dim`; what meets in one element of out is therefore
// added by one thread, in ascending order along `dim`.
void scatter_add(int dim, const Tensor& index, const Tensor& src, const Tensor& out) {
  if (index.numel() == 0) return;
  if (out.dtype() == DType::bf16) {
    const Tensor sums = widened(out);
    scatter_add(dim, index, widened(src), sums);
    return copy(sums, out);
  }
  const LoopNest<3> nest(
      functors::without(index.shape(), dim),
      {functors::without(index.strides(), dim), functors::without(src.strides(), dim),
       functors::without(out.strides(), dim)});
  const int last = nest.shape.size() - 1;
  const std::int64_t index_step = nest.strides[0][last], src_step = nest.strides[1][last],
                     out_step = nest.strides[2][last];
  const std::int64_t index_stride = index.strides()[dim], src_stride = src.strides()[dim],
                     out_stride = out.strides()[dim];
  const std::int64_t terms = index.shape()[dim], lines = index.numel() / terms;
  const std::int64_t* const indices = index.data<std::int64_t>();
  visit_number(out.dtype(), "scatter_add", [&]<class T>() {
    const T* const from = src.data<T>();
    T* const to = out.data<T>();
    const auto add_to = [](T& sum, T term) { sum = functors::Add()(sum, term); };
    if (dim == index.dim() - 1) {
      // Each line along dim on its own: its elements are neighbours in memory.
      parallel_for(
          lines, std::max<std::int64_t>(1, kGrain / terms),
          [&](std::int64_t begin, std::int64_t end) {
            nest.run(begin, end, [&](const std::array<std::int64_t, 3>& at, std::int64_t length) {
              for (std::int64_t l = 0; l < length; ++l) {
                for (std::int64_t t = 0; t < terms; ++t) {
                  const std::int64_t i = indices[at[0] + l * index_step + t * index_stride];
                  add_to(to[at[2] + l * out_step + i * out_stride],
                         from[at[1] + l * src_step + t * src_stride]);
                }
              }
            });
          });
      return;
    }
    // Rows across the lines, as in the gradient of an embedding; at least a few cache lines wide.
    parallel_for(
        lines, std::max<std::int64_t>(64, kGrain / terms),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t t = 0; t < terms; ++t) {
            nest.run(begin, end, [&](const std::array<std::int64_t, 3>& at, std::int64_t length) {
              for (std::int64_t l = 0; l < length; ++l) {
                const std::int64_t i = indices[at[0] + l * index_step + t * index_stride];
                add_to(to[at[2] + l * out_step + i * out_stride],
                       from[at[1] + l * src_step + t * src_stride]);
              }
            });
          }
        });
  });
}

Tensor nonzero(const Tensor& x) {
  std::vector<std::int64_t> found;  // positions in row-major order
  visit(x.dtype(), [&]<class T>() {
    if (x.numel() == 0) return;
    const LoopNest<1> nest(x.shape(), {x.strides()});
    const std::int64_t step = nest.strides[0][nest.shape.size() - 1];
    std::int64_t position = 0;
    nest.run(0, x.numel(), [&](const std::array<std::int64_t, 1>& at, std::int64_t length) {
      const T* const run = x.data<T>() + at[0];
      for (std::int64_t i = 0; i < length; ++i, ++position) {
        if (functors::convert<bool>(run[i * step])) found.push_back(position);
      }
    });
  });
  const auto count = static_cast<std::int64_t>(found.size());
  const Tensor out = empty({count, x.dim()}, {.dtype = DType::i64});
  auto* const coordinates = out.data<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = found[static_cast<std::size_t>(i)];
    for (int d = x.dim() - 1; d >= 0; --d) {
      coordinates[i * x.dim() + d] = rest % x.shape()[d];
      rest /= x.shape()[d];
    }
  }
  return out;
}

}  // namespace invar::cpu
