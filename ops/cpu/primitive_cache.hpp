#pragma once
// What can be seen of the cache of oneDNN primitives (onednn.hpp) without oneDNN's headers.
//
// Making a primitive compiles code for one problem (milliseconds); running it is what training
// does all day. The cache keeps the `capacity` most recently used ones, so that changing shapes
// cannot make memory creep.
#include <cstddef>
#include <cstdint>

namespace invar::cpu {

struct PrimitiveCacheStats {
  std::size_t entries = 0;
  std::size_t capacity = 0;
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
};

PrimitiveCacheStats primitive_cache_stats();

/// Drops the least recently used primitives beyond `capacity` (at least 1).
void set_primitive_cache_capacity(std::size_t capacity);

}  // namespace invar::cpu
