// Generator and permutation: positions given away, saving and restoring, threads, golden order.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <invar/core/random.hpp>
#include <thread>
#include <vector>

using namespace invar;

TEST_CASE("A generator gives away positions one after another") {
  Generator generator(42);
  CHECK(generator.reserve(5) == GeneratorState{42, 0});     // two blocks of four words
  CHECK(generator.reserve(0) == GeneratorState{42, 2});     // none
  CHECK(generator.reserve(3, 8) == GeneratorState{42, 2});  // two blocks of two words
  CHECK(generator.state() == GeneratorState{42, 4});

  const GeneratorState saved = generator.state();
  generator.reserve(100);
  generator.set_state(saved);
  CHECK(generator.reserve(1) == saved);

  generator.manual_seed(7);
  CHECK(generator.state() == GeneratorState{7, 0});
}

TEST_CASE("manual_seed starts the default generator over") {
  const GeneratorState before = default_generator().state();
  manual_seed(123);
  CHECK(default_generator().reserve(8) == GeneratorState{123, 0});
  CHECK(default_generator().state() == GeneratorState{123, 2});
  default_generator().set_state(before);
}

TEST_CASE("Threads never receive the same position") {
  Generator generator(1);
  std::vector<std::vector<uint64_t>> offsets(4);
  std::vector<std::thread> threads;
  for (std::vector<uint64_t>& mine : offsets) {
    threads.emplace_back([&generator, &mine] {
      for (int i = 0; i < 1000; ++i) mine.push_back(generator.reserve(9).offset);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<uint64_t> all;
  for (const std::vector<uint64_t>& mine : offsets) all.insert(all.end(), mine.begin(), mine.end());
  std::sort(all.begin(), all.end());
  bool disjoint = true;
  for (size_t i = 0; i < all.size(); ++i) disjoint &= all[i] == 3 * i;
  CHECK(disjoint);
}

TEST_CASE("A permutation is golden, complete and uniform", "[smoke]") {
  CHECK(random_permutation(2024, 5, 10) == std::vector<int64_t>{1, 7, 6, 9, 2, 0, 3, 8, 4, 5});
  CHECK(random_permutation(1, 0, 0).empty());
  CHECK(random_permutation(1, 0, 1) == std::vector<int64_t>{0});

  std::vector<int64_t> sorted = random_permutation(3, 0, 10007);
  CHECK_FALSE(std::is_sorted(sorted.begin(), sorted.end()));
  std::sort(sorted.begin(), sorted.end());
  bool complete = true;
  for (size_t i = 0; i < sorted.size(); ++i) complete &= sorted[i] == static_cast<int64_t>(i);
  CHECK(complete);

  // All 24 orders of four elements are equally likely: chi-square with 23 degrees of freedom is
  // above 49.7 once in a thousand.
  std::vector<int> counts(256);
  const int n = 24000;
  for (int i = 0; i < n; ++i) {
    const std::vector<int64_t> p = random_permutation(4, static_cast<uint64_t>(i) * 2, 4);
    ++counts[static_cast<size_t>(p[0] * 64 + p[1] * 16 + p[2] * 4 + p[3])];
  }
  double chi_square = 0;
  int orders = 0;
  for (int count : counts) {
    if (count == 0) continue;
    ++orders;
    chi_square += (count - n / 24.0) * (count - n / 24.0) / (n / 24.0);
  }
  CHECK(orders == 24);
  CHECK(chi_square < 49.7);
}
