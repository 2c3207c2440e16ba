#pragma once
// Profiler: where the time of a training step goes, by operation and by module.
//
//   Profiler profiler;
//   nn::name_modules(profiler, network, "network");  // else modules go by their types
//   {
//     ProfilerScope scope(profiler);                 // this thread is recorded to the end of the
//     loss_of(network(x)).backward();                // scope
//   }
//   fmt::print("{}", profiler.table());
//   profiler.write_trace("step.json");               // for ui.perfetto.dev or chrome://tracing
//
// Three kinds of spans are recorded (core/observer.hpp); they nest:
//
//   kernel   a call of a slot of the kernel table (ops/kernels.hpp)
//   node     an operation of the backward pass: its gradient rule, the kernels in it, and adding
//            up what it hands on
//   module   a call of an nn::Module
//
// An operation's forward time is that of its kernels outside of any node, its backward time that of
// its nodes. A module's forward time is that of its calls, children included; its backward time is
// that of the nodes which were made during its calls. Convolutions and products of matrices count
// floating point operations (a multiplication and an addition are two, whatever algorithm runs);
// every kernel counts the bytes of its tensors, each read or written once.
//
// Every span is kept (about 200 bytes): profile some steps, not a training. With no profiler in
// scope each of those places looks at a thread-local pointer and goes on.
//
// Kernels of a GPU run later than they are called: each is waited for, before it begins and when it
// ends. So its time is its own, but a step under the profiler takes longer than one without.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <invar/core/device.hpp>
#include <invar/core/observer.hpp>
#include <invar/core/scoped_value.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace invar {

/// One row of the table.
struct ProfileRow {
  std::string name;
  std::int64_t forward_calls = 0, backward_calls = 0;
  double forward_s = 0, backward_s = 0;
  double kernel_s = 0;  ///< of both: inside kernels
  double flops = 0;
  double flop_s = 0;  ///< inside the kernels that count floating point operations
  double bytes = 0;
  /// Operations: the highest memory in use at the begin of a kernel, outputs included. Modules:
  /// what one call left in use behind it (its result, and what backward needs), on average. Of the
  /// CPU and all GPUs together.
  double memory_bytes = 0;
};

class Profiler final : public Observer {
 public:
  Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// What the module at this address is called from now on.
  void name_module(const void* module, std::string path) { paths_[module] = std::move(path); }

  /// By time, the longest first.
  std::vector<ProfileRow> operations() const;
  std::vector<ProfileRow> modules() const;
  /// Both as text. `rows`: at most so many of each.
  std::string table(std::size_t rows = 30) const;
  /// The spans in Chrome's trace format, with the memory in use as a curve.
  void write_trace(const std::filesystem::path& path) const;
  /// Forgets what was recorded, not the names.
  void clear();

  void begins(const KernelCall& call) override;
  void begins(const Node& node) override;
  void begins(const ModuleCall& call) override;
  void ends() override;
  std::int64_t scope() const override;

 private:
  enum class Kind : std::uint8_t { kernel, node, module };

  struct Record {
    Kind kind;
    int parent;  ///< the span around it, or -1
    int module;  ///< the span of the module that it belongs to, or -1; for modules: around it
    std::string name, detail = {};
    std::int64_t begin_ns = 0, end_ns = 0;
    double flops = 0, bytes = 0;
    std::int64_t memory_before, memory_after;
    Device device = kCpu;  ///< of a kernel

    double seconds() const { return 1e-9 * static_cast<double>(end_ns - begin_ns); }
  };

  Record& begin(Kind kind, std::string name);
  std::int64_t now() const;
  /// Calls f for the module that a span belongs to and for all around that.
  template <class F>
  void for_each_module(const Record& record, const F& f) const;

  std::chrono::steady_clock::time_point epoch_;
  std::vector<Record> records_;
  int open_ = -1, open_module_ = -1;  ///< innermost
  std::int64_t first_scope_;          ///< scope() of record 0: no two profilers share one
  std::unordered_map<const void*, std::string> paths_;
};

/// This thread is recorded by `profiler` until the end of the scope.
struct ProfilerScope : ScopedValue<Observer*> {
  explicit ProfilerScope(Profiler& profiler) : ScopedValue(current_observer, &profiler) {}
};

}  // namespace invar
