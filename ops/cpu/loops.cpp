#include <invar/ops/cpu/loops.hpp>

namespace invar::cpu {
namespace {

template <std::size_t N>
void run(const Tensor& out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
         RowFunction row, const void* functor) {
  std::array<const Tensor*, N> operands;
  std::array<char*, N> base;
  std::array<std::int64_t, N> bytes;
  std::size_t k = 0;
  bool dense = true;  // all of one shape: one run covers everything
  const auto add = [&](const Tensor& x) {
    operands[k] = &x;
    dense &= x.is_contiguous() && x.shape() == out.shape();
    base[k] = static_cast<char*>(x.raw_data());
    bytes[k] = static_cast<std::int64_t>(size_of(x.dtype()));
    ++k;
  };
  add(out);
  for (const Tensor& x : inputs) add(x);
  if (dense) {
    parallel_for(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      std::array<char*, N> pointers;
      for (std::size_t i = 0; i < N; ++i) pointers[i] = base[i] + begin * bytes[i];
      row(functor, pointers.data(), bytes.data(), end - begin);
    });
    return;
  }
  std::array<Dims, N> strides;
  for (std::size_t i = 0; i < N; ++i) strides[i] = broadcast_strides(*operands[i], out.shape());
  const LoopNest<N> nest(out.shape(), strides);
  const int last = nest.shape.size() - 1;
  std::array<std::int64_t, N> steps;
  for (std::size_t i = 0; i < N; ++i) steps[i] = nest.strides[i][last] * bytes[i];
  parallel_for(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    nest.run(begin, end, [&](const std::array<std::int64_t, N>& at, std::int64_t length) {
      std::array<char*, N> pointers;
      for (std::size_t i = 0; i < N; ++i) pointers[i] = base[i] + at[i] * bytes[i];
      row(functor, pointers.data(), steps.data(), length);
    });
  });
}

}  // namespace

void run_rows(const Tensor& out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
              RowFunction row, const void* functor) {
  if (out.numel() == 0) return;
  switch (inputs.size()) {
    case 0:
      return run<1>(out, inputs, row, functor);
    case 1:
      return run<2>(out, inputs, row, functor);
    case 2:
      return run<3>(out, inputs, row, functor);
    case 3:
      return run<4>(out, inputs, row, functor);
    default:
      internal_check(false, "elementwise", "{} inputs", inputs.size());
  }
}

}  // namespace invar::cpu
