#include <fmt/format.h>
#include <omp.h>

#include <dnnl.hpp>
#include <fstream>
#include <invar/ops/cpu/blas.hpp>
#include <invar/ops/cpu/isa.hpp>
#include <invar/ops/machine.hpp>

namespace invar {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string instruction_set() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_fp16:
      return "avx512_core_fp16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    case dnnl::cpu_isa::avx512_core_amx_fp16:
      return "avx512_core_amx_fp16";
    default:
      return fmt::format("0x{:x}", static_cast<int>(dnnl::get_effective_cpu_isa()));
  }
}

/// True iff oneDNN uses this instruction set: its number has the bits of those that it includes.
bool includes(dnnl::cpu_isa isa) {
  const auto bits = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

}  // namespace

bool has_avx512() {
  static const bool has = includes(dnnl::cpu_isa::avx512_core);
  return has;
}

bool has_native_bf16() {
  static const bool has = includes(dnnl::cpu_isa::avx512_core_bf16);
  return has;
}

bool has_amx() {
  static const bool has = includes(dnnl::cpu_isa::avx512_core_amx);
  return has;
}

Machine machine() {
  const dnnl_version_t* version = dnnl_version();
  return {processor_name(),
          instruction_set(),
          std::string(cpu::name(cpu::isa())),
          fmt::format("{}.{}.{}", version->major, version->minor, version->patch),
          openblas_get_config(),
          omp_get_max_threads()};
}

std::string openblas_advice() {
  if (cpu::blas::knows_processor()) return {};
  return fmt::format(
      "OpenBLAS does not know this processor and uses kernels for an old one: a newer version, or "
      "OPENBLAS_CORETYPE={} in the environment, makes factorisations (eigenvalues, "
      "log-determinants) two to three times as fast",
      has_avx512() ? "SkylakeX" : "Haswell");
}

}  // namespace invar
