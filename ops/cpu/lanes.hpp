#pragma once
// Sums along a line, in eight interleaved parts that the compiler keeps in vector registers: one
// chain of additions would wait for each result.
#include <cstdint>

namespace invar::cpu {

/// Adds f(i) for i < n to the parts and merges them in pairs, with add(part, i) and merge(a, b).
template <class Part, class Add, class Merge>
Part fold_in_lanes(std::int64_t n, Part identity, const Add& add, const Merge& merge) {
  constexpr int kLanes = 8;
  Part lane[kLanes];
  for (Part& p : lane) p = identity;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) add(lane[k], i + k);
  }
  for (; i < n; ++i) add(lane[i % kLanes], i);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int k = 0; k < width; ++k) merge(lane[k], lane[k + width]);
  }
  return lane[0];
}

/// The sum of f(i) for i < n, in f64.
template <class F>
double sum_in_lanes(std::int64_t n, const F& f) {
  return fold_in_lanes(
      n, 0.0, [&](double& sum, std::int64_t i) { sum += static_cast<double>(f(i)); },
      [](double& a, double b) { a += b; });
}

}  // namespace invar::cpu
