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

constexpr std::size_t kMostInputs = 3;

struct WidenedRow {
  RowFunction row;
  const void* functor;
  std::size_t inputs;
};

/// A RowFunction of bf16 whose functor is a WidenedRow.
void run_widened_row(const void* widened, char* const* pointers, const std::int64_t* steps,
                     std::int64_t length) {
  constexpr std::int64_t kPiece = 1024;
  constexpr std::int64_t kSize = sizeof(BFloat16);
  const auto& f = *static_cast<const WidenedRow*>(widened);
  float scratch[kMostInputs + 1][kPiece];
  char* wide[kMostInputs + 1];
  std::int64_t wide_steps[kMostInputs + 1];
  for (std::size_t k = 0; k <= f.inputs; ++k) {
    wide[k] = reinterpret_cast<char*>(scratch[k]);
    wide_steps[k] = sizeof(float);
  }
  for (std::int64_t begin = 0; begin < length; begin += kPiece) {
    const std::int64_t n = std::min(kPiece, length - begin);
    for (std::size_t k = 1; k <= f.inputs; ++k) {
      const auto* const from = reinterpret_cast<const BFloat16*>(pointers[k] + begin * steps[k]);
      const std::int64_t step = steps[k] / kSize;
      if (step == 1) {
        for (std::int64_t i = 0; i < n; ++i) scratch[k][i] = from[i];
      } else {
        for (std::int64_t i = 0; i < n; ++i) scratch[k][i] = from[i * step];
      }
    }
    f.row(f.functor, wide, wide_steps, n);
    auto* const to = reinterpret_cast<BFloat16*>(pointers[0] + begin * steps[0]);
    const std::int64_t step = steps[0] / kSize;
    if (step == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = BFloat16(scratch[0][i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * step] = BFloat16(scratch[0][i]);
    }
  }
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
      fail_internal("elementwise", "{} inputs", inputs.size());
  }
}

void run_widened_rows(const Tensor& out,
                      std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
                      RowFunction row, const void* functor) {
  const WidenedRow widened{row, functor, inputs.size()};
  run_rows(out, inputs, run_widened_row, &widened);
}

}  // namespace invar::cpu
