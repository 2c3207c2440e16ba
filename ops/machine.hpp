#pragma once
// What results may depend on beside seed and configuration; see docs/determinism.md. Checkpoints
// and run directories record it.
#include <invar/core/device.hpp>
#include <string>

namespace invar {

struct Machine {
  std::string processor;        ///< as the system names it
  std::string instruction_set;  ///< the widest that oneDNN uses: "avx2", "avx512_core_bf16", ...
  std::string own_kernels;  ///< that of own kernels: "baseline", "avx2", "avx512" or "avx512_bf16"
  std::string onednn;       ///< version
  std::string openblas;     ///< version, options and the processor that its kernels are for
  int threads;              ///< of OpenMP

  bool operator==(const Machine&) const = default;
};

/// This process's.
Machine machine();

/// What people can do about an OpenBLAS that does not know their processor; empty if it does.
std::string openblas_advice();

/// A GPU and the versions that results on it may depend on: "NVIDIA H200, CUDA 13.0
/// (driver's 13.0), cuDNN 9.19.0". Error without it.
std::string describe_gpu(Device gpu);

/// True iff the processor has AVX-512 and oneDNN uses it.
bool has_avx512();

/// True iff the processor has bf16 instructions that oneDNN uses (AVX-512 BF16, AMX). Elsewhere
/// bf16 operands are converted to f32 and results rounded, which costs more than computing in f32.
bool has_native_bf16();

/// True iff it has units for products of bf16 matrices (AMX) that oneDNN uses: many times as fast
/// as vectors.
bool has_amx();

}  // namespace invar
