#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <invar/core/object_pool.hpp>
#include <thread>
#include <vector>

using namespace invar;

TEST_CASE("pool: blocks of every size may be written to the end and do not overlap", "[unit]") {
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t bytes : {0, 1, 31, 32, 33, 64, 511, 512, 513, 5000}) {
      auto* const block = static_cast<unsigned char*>(pool_allocate(bytes));
      REQUIRE(block != nullptr);
      std::memset(block, static_cast<int>(blocks.size()), bytes);
      blocks.emplace_back(block, bytes);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto [block, bytes] = blocks[i];
      for (std::size_t k = 0; k < bytes; ++k) REQUIRE(block[k] == i);
    }
    // The second round gets back what the first one gave; the third keeps everything.
    if (round != 0) continue;
    for (const auto& [block, bytes] : blocks) pool_release(block, bytes);
    blocks.clear();
  }
  for (const auto& [block, bytes] : blocks) pool_release(block, bytes);
}

TEST_CASE("pool: what one thread makes another one may release, in any number", "[unit]") {
  constexpr int kBlocks = 5000;  // more than a list keeps
  std::vector<void*> blocks;
  std::thread([&] {
    for (int i = 0; i < kBlocks; ++i) blocks.push_back(pool_allocate(100));
  }).join();
  std::thread([&] {
    for (void* block : blocks) pool_release(block, 100);
    for (void*& block : blocks) block = pool_allocate(100);
  }).join();
  for (void* block : blocks) pool_release(block, 100);
}
