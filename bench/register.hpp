#pragma once
// How bench_conv and bench_ops register a measurement with Google Benchmark. Columns: wall time,
// processor time of all threads, and `amount` (FLOP or B) per second of wall time.
#include <benchmark/benchmark.h>

#include <functional>
#include <string>

/// `prepare` makes the data, when the benchmark is run, and returns what is timed.
inline void register_benchmark(const std::string& name,
                               const std::function<std::function<void()>()>& prepare,
                               const char* unit, double amount) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const std::function<void()> f = prepare();
                                 f();  // what is made once (oneDNN's primitives) is made here
                                 for (auto _ : state) f();
                                 state.counters[unit] = benchmark::Counter(
                                     amount, benchmark::Counter::kIsIterationInvariantRate);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->MeasureProcessCPUTime();
}
