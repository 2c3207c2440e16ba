#include "peak.hpp"

#include <immintrin.h>

namespace bench {
namespace {

// Two units of latency four need eight chains; more hide what the loop itself costs.
constexpr int kChains = 12;

volatile float sink;

[[gnu::target("avx2,fma")]] void chains_avx2(std::int64_t rounds) {
  __m256 sums[kChains];
  for (int k = 0; k < kChains; ++k) sums[k] = _mm256_set1_ps(static_cast<float>(k));
  const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) sums[k] = _mm256_fmadd_ps(sums[k], factor, term);
  }
  __m256 total = _mm256_setzero_ps();
  for (const __m256& s : sums) total = _mm256_add_ps(total, s);
  sink = _mm256_cvtss_f32(total);
}

[[gnu::target("avx512f")]] void chains_avx512(std::int64_t rounds) {
  __m512 sums[kChains];
  for (int k = 0; k < kChains; ++k) sums[k] = _mm512_set1_ps(static_cast<float>(k));
  const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) sums[k] = _mm512_fmadd_ps(sums[k], factor, term);
  }
  __m512 total = _mm512_setzero_ps();
  for (const __m512& s : sums) total = _mm512_add_ps(total, s);
  sink = _mm512_cvtss_f32(total);
}

bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

}  // namespace

void multiply_add(std::int64_t rounds) {
  const bool wide = has_avx512();
#pragma omp parallel
  wide ? chains_avx512(rounds) : chains_avx2(rounds);
}

std::int64_t multiply_add_flops() { return 2 * kChains * (has_avx512() ? 16 : 8); }

}  // namespace bench
