// What an operation costs beside its arithmetic: tensors of 4x4, gradients on.
//
//   bench_overhead [seconds per figure]
//
//   add_ns             x + y, recorded
//   chain20_us         z = z * y + x, ten times, z.sum(), backward
//   chain20_forward_us the same without backward
//
// Prints one JSON object with the median and the minimum of many short runs, in processor time of
// the thread, which other programs on the machine disturb little. bench/torch_overhead.py is
// PyTorch's counterpart.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "clock.hpp"

namespace {

using namespace invar;

/// Seconds per call of f: the median and the minimum over runs of `calls` calls.
template <class F>
std::pair<double, double> time_of(double seconds, int calls, const F& f) {
  std::vector<double> runs;
  for (const double begin = thread_seconds(); thread_seconds() - begin < seconds;) {
    const double start = thread_seconds();
    for (int i = 0; i < calls; ++i) f();
    runs.push_back((thread_seconds() - start) / calls);
  }
  std::sort(runs.begin(), runs.end());
  return {runs[runs.size() / 2], runs.front()};
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  if (argc > 2 || !(seconds > 0)) {
    fmt::print(stderr, "usage: bench_overhead [seconds per figure]\n");
    return 2;
  }
  const Tensor x = randn({4, 4}, {.requires_grad = true});
  const Tensor y = randn({4, 4}, {.requires_grad = true});
  const auto forward = [&] {
    Tensor z = x;
    for (int i = 0; i < 10; ++i) z = z * y + x;
    return sum(z);
  };
  nlohmann::ordered_json result;
  const auto report = [&](const char* name, const char* unit, double per_second, int calls,
                          const auto& f) {
    const auto [median, least] = time_of(seconds, calls, f);
    result[fmt::format("{}_{}", name, unit)] = median * per_second;
    result[fmt::format("{}_min_{}", name, unit)] = least * per_second;
  };
  report("add", "ns", 1e9, 1000, [&] { x + y; });
  report("chain20_forward", "us", 1e6, 50, forward);
  report("chain20", "us", 1e6, 50, [&] { forward().backward(); });
  fmt::print("{}\n", result.dump());
}
