#pragma once
// Which instruction set own kernels run on. Kernels that have one version per instruction set are
// compiled in files of their own (winograd_avx512.cpp ...) and chosen here, at run time.
#include <string_view>

namespace invar::cpu {

enum class Isa {
  baseline,     ///< what the whole library is compiled for
  avx2,         ///< with fused multiply-add
  avx512,       ///< AVX-512 F, VL, DQ and BW
  avx512_bf16,  ///< with products of bf16
};

/// The widest that this processor has, and that INVAR_MAX_CPU_ISA (one of the names above), read
/// once, allows.
Isa isa();

std::string_view name(Isa isa);

}  // namespace invar::cpu
