#pragma once
// Philox4x32-10, a counter-based random number generator, and the numbers made from its bits.
//
// A block is a pure function: 128-bit counter, 64-bit key -> four 32-bit words. Nothing is carried
// from one number to the next, so any thread, on CPU or GPU, computes any element directly and the
// result does not depend on how the work is divided.
//
//   key     = seed
//   counter = (position: low 64 bits, stream: high 64 bits)
//
// Where element i of a tensor that begins at `offset` finds its bits (stream 0):
//
//   32-bit words (float, Bernoulli):           word i mod 4 of position offset + i / 4
//   64-bit words (double, integers, sorting):  words 2(i mod 2), 2(i mod 2) + 1, low half first,
//                                              of position offset + i / 2
//
// n elements therefore use random_positions(n, bytes per word) positions; the next tensor begins
// after them. Normals come in pairs: elements 2k and 2k + 1 share their two words (Box-Muller),
// which always lie in one block.
//
// Everything here is integer arithmetic, correctly rounded IEEE operations and the functions of
// portable_math.hpp: the same bits on every machine. Nothing throws.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#include <cmath>
#include <cstdint>
#include <invar/core/host_device.hpp>
#include <invar/core/portable_math.hpp>
#include <type_traits>

namespace invar {

/// Four 32-bit words: a counter or the output of one block.
struct PhiloxBlock {
  uint32_t word[4];
};

/// One block: ten rounds of two 32x32 -> 64 bit multiplications, the key advanced in between.
INVAR_HD inline PhiloxBlock philox4x32(PhiloxBlock counter, uint64_t key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53u;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u;  // golden ratio
  constexpr uint32_t kWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter.word[0];
    const uint64_t product1 = kMultiplier1 * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<uint32_t>(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

/// The block at a position of a stream.
INVAR_HD inline PhiloxBlock random_block(uint64_t seed, uint64_t position, uint64_t stream = 0) {
  return philox4x32({{static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                      static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}},
                    seed);
}

/// The 64-bit word `half` (0 or 1) of a block, low half first.
INVAR_HD inline uint64_t wide_word(const PhiloxBlock& block, int half) {
  return block.word[2 * half] | static_cast<uint64_t>(block.word[2 * half + 1]) << 32;
}

/// Positions that n elements of word_bytes (4 or 8) each occupy.
INVAR_HD inline uint64_t random_positions(uint64_t n, uint64_t word_bytes) {
  const uint64_t per_block = 16 / word_bytes;
  return n / per_block + (n % per_block != 0);
}

// ---- From bits to numbers ----------------------------------------------------------------------

/// Uniform on [0, 1): the upper 24 bits times 2^-24; every value is a multiple of 2^-24.
INVAR_HD inline float uniform_from_bits(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

/// Uniform on [0, 1): the upper 53 bits times 2^-53.
INVAR_HD inline double uniform_from_bits(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// Uniform integer in [0, n), or 0 if n is 0: the upper 64 bits of the 128-bit product bits * n.
///
/// No word is ever rejected, so every element uses the same number of words on every device. The
/// price is that the probability of a value may differ from 1 / n by less than 2^-64.
INVAR_HD inline uint64_t integer_from_bits(uint64_t bits, uint64_t n) {
  const uint64_t bits_low = static_cast<uint32_t>(bits), bits_high = bits >> 32;
  const uint64_t n_low = static_cast<uint32_t>(n), n_high = n >> 32;
  const uint64_t middle = bits_high * n_low + (bits_low * n_low >> 32);
  const uint64_t carry = (bits_low * n_high + static_cast<uint32_t>(middle)) >> 32;
  return bits_high * n_high + (middle >> 32) + carry;
}

/// Two independent standard normals.
template <typename T>
struct NormalPair {
  T first;
  T second;
};

/// Box-Muller: r = sqrt(-2 ln u), u in (0, 1], and the two coordinates of angle 2 pi v at radius r.
///
/// u = (bits + 1/2) / 2^32 (2^64 for double) uses all bits, so that the tails reach 6.7 (9.4)
/// standard deviations; u never is 0.
INVAR_HD inline NormalPair<float> normals_from_bits(uint32_t radius_bits, uint32_t angle_bits) {
  const float u = (static_cast<float>(radius_bits) + 0.5f) * 0x1p-32f;
  const float radius = std::sqrt(-2.0f * portable_log(u));
  const SinCos<float> direction = portable_sincos(angle_bits);
  return {radius * direction.cos, radius * direction.sin};
}

INVAR_HD inline NormalPair<double> normals_from_bits(uint64_t radius_bits, uint64_t angle_bits) {
  const double u = (static_cast<double>(radius_bits) + 0.5) * 0x1p-64;
  const double radius = std::sqrt(-2.0 * portable_log(u));
  const SinCos<double> direction = portable_sincos(angle_bits);
  return {radius * direction.cos, radius * direction.sin};
}

// ---- Element i of a random tensor --------------------------------------------------------------

/// 32 random bits.
INVAR_HD inline uint32_t random_bits(uint64_t seed, uint64_t offset, uint64_t i) {
  return random_block(seed, offset + i / 4).word[i % 4];
}

/// 64 random bits.
INVAR_HD inline uint64_t random_bits64(uint64_t seed, uint64_t offset, uint64_t i) {
  return wide_word(random_block(seed, offset + i / 2), static_cast<int>(i % 2));
}

/// Uniform on [0, 1), T = float (a 32-bit word) or double (a 64-bit word).
template <typename T>
INVAR_HD T random_uniform(uint64_t seed, uint64_t offset, uint64_t i) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  if constexpr (std::is_same_v<T, float>) {
    return uniform_from_bits(random_bits(seed, offset, i));
  } else {
    return uniform_from_bits(random_bits64(seed, offset, i));
  }
}

/// Standard normal, T = float (a 32-bit word) or double (a 64-bit word).
template <typename T>
INVAR_HD T random_normal(uint64_t seed, uint64_t offset, uint64_t i) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  NormalPair<T> pair;
  if constexpr (std::is_same_v<T, float>) {
    const PhiloxBlock block = random_block(seed, offset + i / 4);
    const int even = static_cast<int>(i % 4 / 2 * 2);
    pair = normals_from_bits(block.word[even], block.word[even + 1]);
  } else {
    const PhiloxBlock block = random_block(seed, offset + i / 2);
    pair = normals_from_bits(wide_word(block, 0), wide_word(block, 1));
  }
  return i % 2 == 0 ? pair.first : pair.second;
}

/// Uniform integer in [low, high), a 64-bit word; low if high <= low. See integer_from_bits.
INVAR_HD inline int64_t random_integer(uint64_t seed, uint64_t offset, uint64_t i, int64_t low,
                                       int64_t high) {
  if (high <= low) return low;
  const uint64_t n = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  return static_cast<int64_t>(static_cast<uint64_t>(low) +
                              integer_from_bits(random_bits64(seed, offset, i), n));
}

/// True with probability p rounded up to a multiple of 2^-24 (a 32-bit word); p outside [0, 1] acts
/// like the nearer end.
INVAR_HD inline bool random_bernoulli(uint64_t seed, uint64_t offset, uint64_t i, double p) {
  return static_cast<double>(random_uniform<float>(seed, offset, i)) < p;
}

// ---- Sequential stream -------------------------------------------------------------------------

/// Numbers one after another, for code that cannot say beforehand how many it needs (augmentation
/// of one image). Streams of one seed never overlap; stream 0 is the one that tensors draw from.
///
/// A value type owned by one thread. It begins at position `offset` of its stream.
class Philox {
 public:
  INVAR_HD explicit Philox(uint64_t seed, uint64_t stream = 0, uint64_t offset = 0)
      : seed_(seed), stream_(stream), position_(offset) {}

  INVAR_HD uint32_t next_u32() {
    if (used_ == 4) {
      block_ = random_block(seed_, position_++, stream_);
      used_ = 0;
    }
    return block_.word[used_++];
  }

  INVAR_HD uint64_t next_u64() {
    const uint64_t low = next_u32();
    return low | static_cast<uint64_t>(next_u32()) << 32;
  }

  /// Uniform on [0, 1), a multiple of 2^-24.
  INVAR_HD float uniform() { return uniform_from_bits(next_u32()); }

  /// Uniform between low and high; high itself only by rounding.
  INVAR_HD float uniform(float low, float high) { return std::fma(uniform(), high - low, low); }

  /// Uniform integer in [0, n), or 0 if n is 0; uses two words.
  INVAR_HD uint32_t below(uint32_t n) {
    return static_cast<uint32_t>(integer_from_bits(next_u64(), n));
  }

  /// Standard normal; uses two words and drops the second number of the pair, so that the position
  /// in the stream is the only state.
  INVAR_HD float normal() {
    const uint32_t radius_bits = next_u32();
    return normals_from_bits(radius_bits, next_u32()).first;
  }

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t position_;  // of the next block
  PhiloxBlock block_{};
  int used_ = 4;  // words of block_ already handed out
};

}  // namespace invar
