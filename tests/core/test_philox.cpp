// Philox: published answers, layout, golden bits of everything derived, accuracy of the portable
// functions, and statistics with fixed seeds.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <invar/core/philox.hpp>
#include <limits>
#include <vector>

using namespace invar;

namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// |value - exact| in units in the last place of T at `exact`.
template <typename T>
double ulps(T value, long double exact) {
  const T rounded = static_cast<T>(exact);
  const T magnitude = std::max(std::abs(rounded), std::numeric_limits<T>::min());
  const long double ulp = std::nextafter(magnitude, std::numeric_limits<T>::infinity()) - magnitude;
  return static_cast<double>(std::abs(static_cast<long double>(value) - exact) / ulp);
}

// Largest distance between the sample's distribution function and `cdf`, times sqrt(n). Under the
// hypothesis it exceeds 1.95 once in a thousand.
template <typename T, typename Cdf>
double kolmogorov_smirnov(std::vector<T> sample, Cdf cdf) {
  std::sort(sample.begin(), sample.end());
  const double n = static_cast<double>(sample.size());
  double worst = 0;
  for (size_t i = 0; i < sample.size(); ++i) {
    const double p = cdf(static_cast<double>(sample[i]));
    const double below = static_cast<double>(i) / n;
    worst = std::max({worst, p - below, below + 1 / n - p});
  }
  return worst * std::sqrt(n);
}

// (chi-square - degrees of freedom) / standard deviation for equally likely cells.
double chi_square_deviation(const std::vector<uint64_t>& counts) {
  double total = 0;
  for (uint64_t count : counts) total += static_cast<double>(count);
  const double expected = total / static_cast<double>(counts.size());
  double chi_square = 0;
  for (uint64_t count : counts) {
    const double d = static_cast<double>(count) - expected;
    chi_square += d * d / expected;
  }
  const double freedom = static_cast<double>(counts.size()) - 1;
  return (chi_square - freedom) / std::sqrt(2 * freedom);
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

}  // namespace

TEST_CASE("Philox4x32-10 gives the published answers", "[smoke]") {
  // Known-answer vectors of the Random123 distribution.
  struct Case {
    PhiloxBlock counter;
    uint64_t key;
    PhiloxBlock expected;
  };
  const Case cases[] = {
      {{{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       0xffffffffffffffff,
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       0x299f31d0a4093822,
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const Case& c : cases) {
    const PhiloxBlock block = philox4x32(c.counter, c.key);
    for (int k = 0; k < 4; ++k) CHECK(block.word[k] == c.expected.word[k]);
  }
}

TEST_CASE("An element finds its bits where the map says") {
  const uint64_t seed = 0x0123456789abcdef;
  for (const uint64_t offset : {uint64_t{0}, uint64_t{77}, uint64_t{0xffffffff}, ~uint64_t{0}}) {
    for (uint64_t i = 0; i < 12; ++i) {
      const PhiloxBlock narrow = random_block(seed, offset + i / 4);
      CHECK(random_bits(seed, offset, i) == narrow.word[i % 4]);
      const PhiloxBlock wide = random_block(seed, offset + i / 2);
      const uint64_t low = wide.word[2 * (i % 2)], high = wide.word[2 * (i % 2) + 1];
      CHECK(random_bits64(seed, offset, i) == (low | high << 32));
    }
  }
  CHECK(random_positions(0, 4) == 0);
  CHECK(random_positions(1, 4) == 1);
  CHECK(random_positions(4, 4) == 1);
  CHECK(random_positions(5, 4) == 2);
  CHECK(random_positions(2, 8) == 1);
  CHECK(random_positions(3, 8) == 2);
  CHECK(random_positions(~uint64_t{0}, 4) == uint64_t{1} << 62);
}

TEST_CASE("Golden bits of derived numbers", "[smoke]") {
  // If one of these changes, every seed of every user means something else from then on.
  const uint64_t seed = 2024, offset = 5;
  const uint32_t words[] = {0x86c9829c, 0x7eac9861, 0x5a0339db, 0x06242339, 0xffe0fb25, 0x678f869e};
  const uint64_t wide[] = {0x7eac986186c9829c, 0x062423395a0339db, 0x678f869effe0fb25,
                           0x8fd3f43ca2dc8a17, 0xd3ce73964b4324f5, 0xd4dee63fc6e305bc};
  const uint32_t uniform_f32[] = {0x3f06c982, 0x3efd5930, 0x3eb40672,
                                  0x3cc48460, 0x3f7fe0fb, 0x3ecf1f0c};
  const uint64_t uniform_f64[] = {0x3fdfab261861b260, 0x3f98908ce5680ce0, 0x3fd9e3e1a7bff83e,
                                  0x3fe1fa7e87945b91, 0x3fea79ce72c96864, 0x3fea9bdcc7f8dc60};
  const uint32_t normal_f32[] = {0xbf90e7f8, 0x3d16f0f7, 0x3fb6f827,
                                 0x3e5e502d, 0xbcd01289, 0x3c8e4c76};
  const uint64_t normal_f64[] = {0x3ff2c3ab7428170b, 0x3fc6cc99e3eea0a3, 0xbff3ec0d06356a15,
                                 0xbfe04ea4ff9bbb63, 0x3fd34fca53e2082b, 0xbfe12bf9d98d2471};
  const int64_t integers[] = {-11, -953, -191, 123, 654, 663};
  const bool coins[] = {false, false, false, true, false, false};
  for (uint64_t i = 0; i < 6; ++i) {
    CAPTURE(i);
    CHECK(random_bits(seed, offset, i) == words[i]);
    CHECK(random_bits64(seed, offset, i) == wide[i]);
    CHECK(bits_of(random_uniform<float>(seed, offset, i)) == uniform_f32[i]);
    CHECK(bits_of(random_uniform<double>(seed, offset, i)) == uniform_f64[i]);
    CHECK(bits_of(random_normal<float>(seed, offset, i)) == normal_f32[i]);
    CHECK(bits_of(random_normal<double>(seed, offset, i)) == normal_f64[i]);
    CHECK(random_integer(seed, offset, i, -1000, 1000) == integers[i]);
    CHECK(random_bernoulli(seed, offset, i, 0.3) == coins[i]);
  }

  Philox stream(seed, 7, offset);
  CHECK(stream.next_u32() == 0x37cb10f1);
  CHECK(stream.next_u64() == 0x61d0c3548b5b4b0e);
  CHECK(bits_of(stream.uniform()) == 0x3d85a628);
  CHECK(bits_of(stream.uniform(-2.0f, 3.0f)) == 0x3ff1a427);
  CHECK(stream.below(1000) == 64);
  CHECK(bits_of(stream.normal()) == 0xbeb8a9af);

  // Hashes over many elements, so that a rare path (quadrant, exponent, tail) cannot change unseen.
  uint64_t hash_f32 = 0, hash_f64 = 0;
  for (uint64_t i = 0; i < 100000; ++i) {
    hash_f32 = hash_f32 * 6364136223846793005u + bits_of(random_normal<float>(seed, offset, i));
    hash_f64 = hash_f64 * 6364136223846793005u + bits_of(random_normal<double>(seed, offset, i));
  }
  CHECK(hash_f32 == 0xf009c8f54561c065);
  CHECK(hash_f64 == 0x6192999405551a69);
}

TEST_CASE("The stream reads the words of its own stream in order") {
  Philox stream(9, 3, 100);
  for (uint64_t i = 0; i < 11; ++i) {
    CHECK(stream.next_u32() == random_block(9, 100 + i / 4, 3).word[i % 4]);
  }
  Philox other(9, 4, 100);
  CHECK(other.next_u32() != random_block(9, 100, 3).word[0]);
}

TEST_CASE("portable_log is accurate") {
  double worst_f32 = 0, worst_f64 = 0;
  const auto try_f32 = [&](float x) {
    worst_f32 = std::max(worst_f32, ulps(portable_log(x), std::log(static_cast<long double>(x))));
  };
  const auto try_f64 = [&](double x) {
    worst_f64 = std::max(worst_f64, ulps(portable_log(x), std::log(static_cast<long double>(x))));
  };
  for (int i = 0; i < 100000; ++i) {
    const double u = i / 100000.0;
    for (int exponent : {-70, -40, -8, -2, -1, 0, 1, 5}) {
      if (exponent > -40) try_f32(static_cast<float>(std::ldexp(1 + u, exponent)));
      if (i % 4 == 0) try_f64(std::ldexp(1 + u, exponent));
    }
    try_f32(1 - static_cast<float>(i) * 0x1p-24f);
    try_f64(1 - i * 0x1p-53);
    try_f64(1 + i * 0x1p-52);
  }
  CAPTURE(worst_f32, worst_f64);
  CHECK(worst_f32 < 2);
  CHECK(worst_f64 < 2);
  CHECK(portable_log(1.0f) == 0);
  CHECK(portable_log(1.0) == 0);
}

TEST_CASE("portable_exp is accurate, up to infinity and down to zero") {
  double worst = 0;
  const auto exact = [](float x) { return std::exp(static_cast<long double>(x)); };
  for (int i = 0; i < 2000000; ++i) {
    const float x = -87.3f + 176.0f * static_cast<float>(i) / 2000000;
    worst = std::max(worst, ulps(portable_exp(x), exact(x)));
    const float small = (static_cast<float>(i) - 1000000) * 0x1p-22f;
    worst = std::max(worst, ulps(portable_exp(small), exact(small)));
  }
  CAPTURE(worst);
  CHECK(worst < 1);
  // Below the smallest normal number the unit is its last place.
  double worst_subnormal = 0;
  for (float x = -104.5f; x < -87.3f; x += 0.001f) {
    worst_subnormal = std::max(
        worst_subnormal, static_cast<double>(std::abs(portable_exp(x) - exact(x)) * 0x1p149L));
  }
  CAPTURE(worst_subnormal);
  CHECK(worst_subnormal < 1);
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(portable_exp(0.0f) == 1);
  CHECK(portable_exp(-0.0f) == 1);
  CHECK(portable_exp(-infinity) == 0);
  CHECK(portable_exp(-1e30f) == 0);
  CHECK(portable_exp(infinity) == infinity);
  CHECK(portable_exp(88.73f) == infinity);
  CHECK(portable_exp(88.72f) < infinity);
  CHECK(std::isnan(portable_exp(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(portable_exp(-std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("portable_sincos is accurate") {
  const long double two_pi = 6.283185307179586476925286766559L;
  double worst_f32 = 0, worst_f64 = 0;
  const auto try_f32 = [&](uint32_t turn) {
    const SinCos<float> v = portable_sincos(turn);
    // The angle from the nearest multiple of a quarter turn, so that the reference is accurate
    // where sine or cosine vanish.
    const uint32_t quadrant = (turn + 0x20000000u) >> 30;
    const long double y =
        two_pi * std::ldexp(1.0L * static_cast<int32_t>(turn - (quadrant << 30)), -32);
    const long double s = std::sin(y), c = std::cos(y);
    const long double exact_sin[] = {s, c, -s, -c};
    worst_f32 = std::max({worst_f32, ulps(v.sin, exact_sin[quadrant % 4]),
                          ulps(v.cos, exact_sin[(quadrant + 1) % 4])});
  };
  const auto try_f64 = [&](uint64_t turn) {
    const SinCos<double> v = portable_sincos(turn);
    const uint64_t quadrant = (turn + 0x2000000000000000u) >> 62;
    const long double y =
        two_pi * std::ldexp(1.0L * static_cast<int64_t>(turn - (quadrant << 62)), -64);
    const long double s = std::sin(y), c = std::cos(y);
    const long double exact_sin[] = {s, c, -s, -c};
    worst_f64 = std::max({worst_f64, ulps(v.sin, exact_sin[quadrant % 4]),
                          ulps(v.cos, exact_sin[(quadrant + 1) % 4])});
  };
  for (uint32_t i = 0; i < 200000; ++i) {
    try_f32(i * 21475u + 3);
    try_f64(i * 92233720368547u + 5);
    try_f32(static_cast<uint32_t>((i % 8) << 29) + (i / 8) - 12500u);
    try_f64((static_cast<uint64_t>(i % 8) << 61) + (i / 8) - 12500u);
  }
  CAPTURE(worst_f32, worst_f64);
  CHECK(worst_f32 < 2.5);
  CHECK(worst_f64 < 2.5);
  CHECK(portable_sincos(uint32_t{0}).sin == 0);
  CHECK(portable_sincos(uint32_t{1} << 30).cos == 0);
  CHECK(portable_sincos(uint64_t{1} << 63).cos == -1);
}

TEST_CASE("Integers from bits are the upper half of the product") {
  const uint64_t edges[] = {0, 1, 2, 3, 0xffffffff, 0x100000000, 0x8000000000000000, ~uint64_t{0}};
  const auto expected = [](uint64_t bits, uint64_t n) {
    __extension__ typedef unsigned __int128 Wide;
    return static_cast<uint64_t>(static_cast<Wide>(bits) * n >> 64);
  };
  for (uint64_t bits : edges) {
    for (uint64_t n : edges) CHECK(integer_from_bits(bits, n) == expected(bits, n));
  }
  bool all_equal = true;
  for (uint64_t i = 0; i < 10000; ++i) {
    const uint64_t bits = random_bits64(1, 0, i), n = random_bits64(2, 0, i) >> (i % 64);
    all_equal &= integer_from_bits(bits, n) == expected(bits, n);
  }
  CHECK(all_equal);

  const int64_t lowest = std::numeric_limits<int64_t>::min();
  const int64_t highest = std::numeric_limits<int64_t>::max();
  bool in_range = true;
  for (uint64_t i = 0; i < 1000; ++i) {
    in_range &= random_integer(3, 0, i, lowest, highest) < highest;
    in_range &= random_integer(3, 0, i, lowest, lowest + 1) == lowest;
    in_range &= random_integer(3, 0, i, highest - 1, highest) == highest - 1;
  }
  CHECK(in_range);
  CHECK(random_integer(3, 0, 0, 5, 5) == 5);
  CHECK(Philox(1).below(0) == 0);
}

TEST_CASE("Extreme bits stay in range") {
  CHECK(uniform_from_bits(uint32_t{0}) == 0);
  CHECK(uniform_from_bits(~uint32_t{0}) == 1 - 0x1p-24f);
  CHECK(uniform_from_bits(~uint64_t{0}) == 1 - 0x1p-53);
  // The smallest u gives the longest radius, the largest u rounds to 1 and gives 0.
  CHECK(std::abs(normals_from_bits(uint32_t{0}, uint32_t{0}).first - 6.763f) < 1e-3f);
  CHECK(std::abs(normals_from_bits(uint64_t{0}, uint64_t{0}).first - 9.492) < 1e-3);
  CHECK(normals_from_bits(~uint32_t{0}, uint32_t{0}).first == 0);
  CHECK(normals_from_bits(~uint64_t{0}, uint64_t{0}).first == 0);
  for (uint64_t i = 0; i < 100; ++i) {
    CHECK_FALSE(random_bernoulli(1, 0, i, 0.0));
    CHECK(random_bernoulli(1, 0, i, 1.0));
  }
}

TEST_CASE("Uniforms pass chi-square, Kolmogorov-Smirnov and neighbour correlation") {
  const size_t n = 200000;
  std::vector<float> f32(n);
  std::vector<double> f64(n);
  std::vector<uint64_t> cells(256), low_bits(256), pairs(256), integers(10);
  double correlation = 0, heads = 0;
  for (size_t i = 0; i < n; ++i) {
    f32[i] = random_uniform<float>(11, 0, i);
    f64[i] = random_uniform<double>(12, 0, i);
    const uint32_t bits = random_bits(13, 0, i);
    ++cells[bits >> 24];
    ++low_bits[bits & 255];
    ++integers[static_cast<size_t>(random_integer(14, 0, i, -5, 5) + 5)];
    heads += random_bernoulli(15, 0, i, 0.3);
    if (i > 0) {
      ++pairs[(bits >> 28) * 16 + (random_bits(13, 0, i - 1) >> 28)];
      correlation += (f32[i] - 0.5) * (f32[i - 1] - 0.5);
    }
  }
  const auto identity = [](double x) { return x; };
  CHECK(kolmogorov_smirnov(f32, identity) < 1.95);
  CHECK(kolmogorov_smirnov(f64, identity) < 1.95);
  CHECK(std::abs(chi_square_deviation(cells)) < 4);
  CHECK(std::abs(chi_square_deviation(low_bits)) < 4);
  CHECK(std::abs(chi_square_deviation(pairs)) < 4);
  CHECK(std::abs(chi_square_deviation(integers)) < 4);
  CHECK(std::abs(correlation * 12 / std::sqrt(n)) < 4);
  CHECK(std::abs(heads - 0.3 * n) < 4 * std::sqrt(0.21 * n));
}

TEST_CASE("Normals have the moments and the distribution of a standard normal") {
  const size_t n = 200000;
  const auto check = [&](auto sample_of, const char* name) {
    CAPTURE(name);
    std::vector<double> sample(n);
    double mean = 0, square = 0, cube = 0, fourth = 0, neighbours = 0;
    for (size_t i = 0; i < n; ++i) {
      const double x = sample_of(i);
      sample[i] = x;
      mean += x;
      square += x * x;
      cube += x * x * x;
      fourth += x * x * x * x;
      if (i % 2 == 1) neighbours += x * sample[i - 1];
    }
    const double root = std::sqrt(n);
    CHECK(std::abs(mean / root) < 4);
    CHECK(std::abs((square / n - 1) * root / std::sqrt(2.0)) < 4);
    CHECK(std::abs(cube / root / std::sqrt(15.0)) < 4);
    CHECK(std::abs((fourth / n - 3) * root / std::sqrt(96.0)) < 4);
    CHECK(std::abs(neighbours / std::sqrt(n / 2.0)) < 4);
    CHECK(kolmogorov_smirnov(sample, normal_cdf) < 1.95);
  };
  check([](size_t i) { return static_cast<double>(random_normal<float>(21, 0, i)); }, "float");
  check([](size_t i) { return random_normal<double>(22, 0, i); }, "double");
  Philox stream(23, 1);
  check([&](size_t) { return static_cast<double>(stream.normal()); }, "stream");
}

TEST_CASE("Seeds and streams that differ by one bit are unrelated") {
  int different = 0;
  for (int bit = 0; bit < 64; ++bit) {
    const PhiloxBlock a = random_block(0, 0, 0);
    for (const PhiloxBlock& b :
         {random_block(uint64_t{1} << bit, 0, 0), random_block(0, uint64_t{1} << bit, 0),
          random_block(0, 0, uint64_t{1} << bit)}) {
      for (int k = 0; k < 4; ++k) different += __builtin_popcount(a.word[k] ^ b.word[k]);
    }
  }
  const double bits = 64 * 3 * 128;
  CHECK(std::abs(different - bits / 2) < 4 * std::sqrt(bits / 4));
}
