#include <algorithm>
#include <invar/core/random.hpp>
#include <utility>

namespace invar {

GeneratorState Generator::reserve(uint64_t n, uint64_t word_bytes) {
  const std::lock_guard lock(mutex_);
  const GeneratorState reserved = state_;
  state_.offset += random_positions(n, word_bytes);
  return reserved;
}

GeneratorState Generator::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void Generator::set_state(GeneratorState state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
}

Generator& default_generator() {
  static Generator generator;
  return generator;
}

void manual_seed(uint64_t seed) { default_generator().manual_seed(seed); }

std::vector<int64_t> random_permutation(uint64_t seed, uint64_t offset, uint64_t n) {
  std::vector<std::pair<uint64_t, int64_t>> keys(n);
  for (uint64_t i = 0; i < n; ++i) {
    keys[i] = {random_bits64(seed, offset, i), static_cast<int64_t>(i)};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int64_t> order(n);
  for (uint64_t i = 0; i < n; ++i) order[i] = keys[i].second;
  return order;
}

}  // namespace invar
