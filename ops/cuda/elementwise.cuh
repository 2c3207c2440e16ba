#pragma once
// The launch of elementwise functors over strided, broadcasting operands, the GPU's counterpart of
// cpu/loops.hpp:
//
//   elementwise<float, float, float>(out, functors::Add{}, a, b);
//
// Neighbouring dimensions that all operands walk through without a jump are merged (LoopNest).
// Where everything is dense a thread reads and writes four elements at once.
#include <invar/ops/cuda/launch.cuh>
#include <invar/ops/functors/norm.hpp>

namespace invar::cuda {

constexpr int kPack = 4;

/// What a kernel must know of N operands; operand 0 is the output.
template <int N>
struct Operands {
  functors::Strided<N> places;
  void* data[N];
  std::int64_t packs;  ///< of kPack elements that may be accessed at once; the rest is single
};

template <class Out, class... In, class... Inputs>
Operands<1 + sizeof...(In)> operands(const Tensor& out, const Inputs&... inputs) {
  constexpr std::size_t n = 1 + sizeof...(In);
  const std::array<const Tensor*, n> tensors{&out, &inputs...};
  constexpr std::array<std::size_t, n> sizes{sizeof(Out), sizeof(In)...};
  std::array<Dims, n> strides;
  Operands<static_cast<int>(n)> made{};
  bool dense = true;
  for (std::size_t k = 0; k < n; ++k) {
    const Tensor& x = *tensors[k];
    strides[k] = broadcast_strides(x, out.shape());
    made.data[k] = x.raw_data();
    dense &= x.is_contiguous() && x.numel() == out.numel() &&
             reinterpret_cast<std::uintptr_t>(made.data[k]) % (kPack * sizes[k]) == 0;
  }
  made.places = functors::strided(out.shape(), strides);
  made.packs = dense ? out.numel() / kPack : 0;
  return made;
}

template <class F, class Out, class... In>
struct Elementwise {
  F f;
  Operands<1 + sizeof...(In)> operands;

  /// The packs first, then the single elements.
  INVAR_HD void operator()(std::int64_t i) const {
    const std::int64_t packs = operands.packs;
    if (i < packs) {
      apply_to_pack(i, std::index_sequence_for<In...>());
    } else {
      apply_at(packs * kPack + i - packs, std::index_sequence_for<In...>());
    }
  }

 private:
  template <std::size_t... I>
  INVAR_HD void apply_to_pack(std::int64_t i, std::index_sequence<I...>) const {
    apply_to(i, static_cast<const functors::Pack<In, kPack>*>(operands.data[I + 1])[i]...);
  }
  INVAR_HD void apply_to(std::int64_t i, const functors::Pack<In, kPack>&... in) const {
    functors::Pack<Out, kPack> out;
    for (int k = 0; k < kPack; ++k) out.values[k] = f(in.values[k]...);
    static_cast<functors::Pack<Out, kPack>*>(operands.data[0])[i] = out;
  }

  template <std::size_t... I>
  INVAR_HD void apply_at(std::int64_t i, std::index_sequence<I...>) const {
    std::int64_t offsets[1 + sizeof...(In)];
    operands.places.locate(i, offsets);
    static_cast<Out*>(operands.data[0])[offsets[0]] =
        f(static_cast<const In*>(operands.data[I + 1])[offsets[I + 1]]...);
  }
};

template <class Out, class... In, class F, class... Inputs>
void elementwise(const Tensor& out, const F& f, const Inputs&... inputs) {
  static_assert(sizeof...(In) == sizeof...(Inputs));
  const auto o = operands<Out, In...>(out, inputs...);
  for_each("elementwise", out, o.packs + out.numel() - o.packs * kPack,
           Elementwise<F, Out, In...>{f, o});
}

}  // namespace invar::cuda
