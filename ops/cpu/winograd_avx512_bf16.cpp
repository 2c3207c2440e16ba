// Compiled for avx512_bf16 (ops/CMakeLists.txt); called only where isa() says so.
namespace invar::cpu {
namespace {
constexpr int kWidth = 16;
}
}  // namespace invar::cpu

#include <invar/ops/cpu/winograd_kernels.inc>

#if defined(__AVX512BF16__)
#include <immintrin.h>

namespace invar::cpu {
namespace {

/// Images and weights are bf16; so are, rounded, their transforms, whose products are added in f32.
struct Bf16 {
  using Pixel = std::uint16_t;
  static constexpr int kPair = 2;
  using Narrow = std::uint16_t __attribute__((vector_size(2 * kWidth)));
  using Words = std::uint32_t __attribute__((vector_size(4 * kWidth)));

  static Vector load(const Pixel* from) { return read(from, sizeof(Narrow)); }
  static Vector load(const Pixel* from, std::int64_t lanes) {
    return lanes >= kWidth ? load(from) : read(from, bytes(lanes));
  }
  static void store(Pixel* to, Vector v) { write(to, v, sizeof(Narrow)); }
  static void store(Pixel* to, Vector v, std::int64_t lanes) {
    lanes >= kWidth ? store(to, v) : write(to, v, bytes(lanes));
  }
  static float value(Pixel pixel) { return load(&pixel, 1)[0]; }

  static Narrow narrow(Vector v) { return (Narrow)_mm512_cvtneps_pbh(v); }

  static void store_units(float* to, Vector v) { write(to, v, sizeof(Narrow)); }
  static void store_units(float* to, Narrow first, Vector second) {
    cpu::store(to, (Vector)(__builtin_convertvector(first, Words) |
                            __builtin_convertvector(narrow(second), Words) << 16));
  }
  static Vector multiply_add(Vector sum, float unit, Vector row) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(unit), (__m512bh)row);
  }

 private:
  static std::size_t bytes(std::int64_t lanes) {
    return sizeof(Pixel) * static_cast<std::size_t>(lanes);
  }
  static Vector read(const void* from, std::size_t bytes) {
    Narrow bits{};
    std::memcpy(&bits, from, bytes);
    return (Vector)(__builtin_convertvector(bits, Words) << 16);
  }
  static void write(void* to, Vector v, std::size_t bytes) {
    const Narrow bits = narrow(v);
    std::memcpy(to, &bits, bytes);
  }
};

}  // namespace

const WinogradKernels& winograd_avx512_bf16() { return kKernels<Bf16>; }

}  // namespace invar::cpu

#else

namespace invar::cpu {
const WinogradKernels& winograd_avx512_bf16() { return kKernels<F32>; }
}  // namespace invar::cpu

#endif
