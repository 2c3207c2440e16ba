#pragma once
// Splitting work over the OpenMP threads. The pieces depend on the problem only, never on the
// number of threads, so that results are bit-identical for any thread count.
#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace invar::cpu {

/// Elements below which a second thread costs more than it saves.
inline constexpr std::int64_t kGrain = 16384;

/// Calls f(begin, end) for [0, n) cut into pieces of `grain` (the last may be smaller). f must not
/// throw. Runs in the calling thread if there is one piece only.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& f) {
  const std::int64_t pieces = (n + grain - 1) / grain;
  if (pieces <= 1 || omp_get_max_threads() == 1 || omp_in_parallel()) {
    for (std::int64_t i = 0; i < pieces; ++i) f(i * grain, std::min(n, (i + 1) * grain));
    return;
  }
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < pieces; ++i) f(i * grain, std::min(n, (i + 1) * grain));
}

/// While it lives, libraries that the calling thread calls use this thread alone.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace invar::cpu
