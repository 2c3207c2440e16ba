#pragma once
// Splitting work over the OpenMP threads. The pieces depend on the problem only, never on the
// number of threads, so that results are bit-identical for any thread count.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <invar/core/integers.hpp>

namespace invar::cpu {

/// Elements below which a second thread costs more than it saves.
inline constexpr std::int64_t kGrain = 16384;

/// The threads that parallel_for uses if it is called now, for memory of each. Inside of a parallel
/// region, which may be the caller's own with any number of threads, that is this one alone.
class Workers {
 public:
  int count() const { return count_; }
  /// Which of them runs: for pieces of work.
  int current() const { return count_ == 1 ? 0 : omp_get_thread_num(); }

 private:
  int count_ = omp_in_parallel() ? 1 : omp_get_max_threads();
};

/// Calls f(begin, end) for [0, n) cut into pieces of `grain` (the last may be smaller). Runs in the
/// calling thread if there is one piece only. What f throws goes on to the caller: where several
/// throw, one of them, and pieces after it may have been computed.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& f) {
  const std::int64_t pieces = ceil_div(n, grain);
  if (pieces <= 1 || Workers().count() == 1) {
    for (std::int64_t i = 0; i < pieces; ++i) f(i * grain, std::min(n, (i + 1) * grain));
    return;
  }
  std::exception_ptr error;  // an exception that leaves the region ends the process
  std::atomic_flag failed;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < pieces; ++i) {
    try {
      f(i * grain, std::min(n, (i + 1) * grain));
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
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
