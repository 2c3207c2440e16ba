#pragma once
// Where tensors take their random numbers from.
//
// A Generator is a seed and a position in the stream of Philox (philox.hpp). An op that fills n
// elements reserves their positions first and then computes element i from (seed, offset, i) in any
// order on any number of threads. (seed, offset) is all there is to save and restore: a checkpoint
// stores the GeneratorState of default_generator().
//
// Threads: every member may be called from several threads. Which thread gets which positions then
// depends on who comes first; code that must be reproducible reserves from one thread.
#include <cstdint>
#include <invar/core/philox.hpp>
#include <mutex>
#include <vector>

namespace invar {

struct GeneratorState {
  uint64_t seed = 0;
  uint64_t offset = 0;  // first position not yet given away

  bool operator==(const GeneratorState&) const = default;
};

class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : state_{seed, 0} {}

  /// Reserves positions for n elements that use word_bytes (4 or 8, see philox.hpp) each. Returns
  /// the seed and the offset where these elements begin.
  GeneratorState reserve(uint64_t n, uint64_t word_bytes = 4);

  /// Starts over with another seed at offset 0.
  void manual_seed(uint64_t seed) { set_state({seed, 0}); }

  GeneratorState state() const;
  void set_state(GeneratorState state);

 private:
  mutable std::mutex mutex_;
  GeneratorState state_;
};

/// The generator of every op that is not given one. Its seed is 0 until manual_seed is called: a
/// program is reproducible unless it asks not to be.
Generator& default_generator();

/// default_generator().manual_seed(seed).
void manual_seed(uint64_t seed);

/// A uniformly random order of 0 .. n-1: the indices sorted by random_bits64(seed, offset, index),
/// equal bits by index. Uses n words of 8 bytes.
std::vector<int64_t> random_permutation(uint64_t seed, uint64_t offset, uint64_t n);

}  // namespace invar
