#include <algorithm>
#include <cstdlib>
#include <invar/core/error.hpp>
#include <invar/ops/cpu/isa.hpp>

namespace invar::cpu {
namespace {

Isa widest() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
    return __builtin_cpu_supports("avx512bf16") ? Isa::avx512_bf16 : Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa allowed() {
  const char* const text = std::getenv("INVAR_MAX_CPU_ISA");
  if (!text) return Isa::avx512_bf16;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (text == name(isa)) return isa;
  }
  fail("INVAR_MAX_CPU_ISA", "expected baseline, avx2, avx512 or avx512_bf16, got \"{}\"", text);
}

}  // namespace

Isa isa() {
  static const Isa chosen = std::min(widest(), allowed());
  return chosen;
}

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512_bf16";
  }
  return "unknown";
}

}  // namespace invar::cpu
