#include <algorithm>
#include <atomic>
#include <invar/autodiff/profiler.hpp>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/node.hpp>
#include <invar/core/call_stack.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <invar/core/file.hpp>
#include <invar/ops/kernels.hpp>
#include <map>
#include <nlohmann/json.hpp>

namespace invar {
namespace {

/// Scope numbers of one profiler between two clear()s are neighbours.
std::int64_t next_first_scope() {
  static std::atomic<std::int64_t> counter{0};
  return counter.fetch_add(1, std::memory_order_relaxed) << 32;
}

std::int64_t memory_in_use() {
  auto bytes = static_cast<std::int64_t>(allocator().stats().in_use);
  static const int gpus = cuda::device_count();
  for (int gpu = 0; gpu < gpus; ++gpu) {
    bytes += static_cast<std::int64_t>(cuda::allocator(gpu).stats().in_use);
  }
  return bytes;
}

void wait_for(Device device) {
  if (device.type == DeviceType::cuda) cuda::synchronize(device);
}

double bytes_of(const Tensor& x) {
  // An expanded tensor has fewer bytes than elements.
  return std::min(static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype())),
                  static_cast<double>(x.storage()->bytes()));
}

double numel(const Tensor* x) { return static_cast<double>(x->numel()); }

/// Two per multiplication with addition. The arguments are those of ops/kernels.hpp.
double flops_of(const KernelCall& call, Device device) {
  const auto is = [&](auto slot) {
    return call.function == reinterpret_cast<void (*)()>(kernels(device).*slot);
  };
  const auto& t = call.tensors;
  // Elements of one output channel's weights [O,kh,kw,I]: multiplications for one output element.
  const auto per_channel = [](const Tensor* w) {
    return numel(w) / static_cast<double>(std::max<std::int64_t>(w->size(0), 1));
  };
  if (is(&Kernels::conv2d)) return 2 * numel(t.back()) * per_channel(t[1]);
  if (is(&Kernels::conv2d_backward_input)) return 2 * numel(t[0]) * per_channel(t[1]);
  if (is(&Kernels::conv2d_backward_weight)) return 2 * numel(t[0]) * per_channel(t.back());
  if (is(&Kernels::matmul)) return 2 * numel(t.back()) * static_cast<double>(t[0]->size(-1));
  return 0;
}

std::string type_name(const std::type_info& type) {
  std::string full = demangled(type.name());
  full.erase(std::min(full.find('<'), full.size()));
  const auto colon = full.rfind(':');
  return colon == std::string::npos ? full : full.substr(colon + 1);
}

std::vector<ProfileRow> by_time(std::map<std::string, ProfileRow> rows) {
  std::vector<ProfileRow> sorted;
  for (auto& [name, row] : rows) {
    row.name = name;
    sorted.push_back(std::move(row));
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const ProfileRow& a, const ProfileRow& b) {
    return a.forward_s + a.backward_s > b.forward_s + b.backward_s;
  });
  return sorted;
}

void append_rows(std::string& text, const char* title, const char* memory,
                 const std::vector<ProfileRow>& rows, std::size_t limit) {
  std::size_t width = std::string_view(title).size();
  for (const ProfileRow& row : rows) width = std::max(width, row.name.size());
  text += fmt::format("{:<{}} {:>7} {:>11} {:>7} {:>11} {:>9} {:>8} {:>9}\n", title, width, "calls",
                      "forward ms", "calls", "backward ms", "GFLOP/s", "GB/s", memory);
  const auto rate = [](double amount, double seconds) {
    return amount > 0 && seconds > 0 ? fmt::format("{:.1f}", 1e-9 * amount / seconds)
                                     : std::string("-");
  };
  for (std::size_t i = 0; i < std::min(limit, rows.size()); ++i) {
    const ProfileRow& r = rows[i];
    text +=
        fmt::format("{:<{}} {:>7} {:>11.3f} {:>7} {:>11.3f} {:>9} {:>8} {:>9.2f}\n", r.name, width,
                    r.forward_calls, 1e3 * r.forward_s, r.backward_calls, 1e3 * r.backward_s,
                    rate(r.flops, r.flop_s), rate(r.bytes, r.kernel_s), 1e-6 * r.memory_bytes);
  }
  if (rows.size() > limit) text += fmt::format("... and {} more\n", rows.size() - limit);
}

}  // namespace

Profiler::Profiler() : epoch_(std::chrono::steady_clock::now()), first_scope_(next_first_scope()) {}

std::int64_t Profiler::now() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                              epoch_)
      .count();
}

void Profiler::clear() {
  check(open_ < 0, "Profiler", "expected no call inside of clear() that is recorded");
  records_.clear();
  first_scope_ = next_first_scope();
}

std::int64_t Profiler::scope() const { return open_module_ < 0 ? -1 : first_scope_ + open_module_; }

Profiler::Record& Profiler::begin(Kind kind, std::string name) {
  const std::int64_t memory = memory_in_use();
  records_.push_back({.kind = kind,
                      .parent = open_,
                      .module = open_module_,
                      .name = std::move(name),
                      .memory_before = memory,
                      .memory_after = memory});
  open_ = static_cast<int>(records_.size()) - 1;
  return records_.back();
}

void Profiler::begins(const KernelCall& call) {
  Record& record = begin(Kind::kernel, std::string(call.op));
  constexpr int kShown = 6;  // an optimiser's call has hundreds of tensors
  int count = 0;
  for (const Tensor* x : call.tensors) {
    if (!x->defined()) continue;
    record.device = x->device();
    record.bytes += bytes_of(*x);
    if (++count > kShown) continue;
    record.detail += fmt::format("{}{} {}", count > 1 ? ", " : "", x->dtype(), x->shape());
  }
  if (count > kShown) record.detail += fmt::format(" and {} more", count - kShown);
  record.flops = flops_of(call, record.device);
  wait_for(record.device);
  record.begin_ns = now();
}

void Profiler::begins(const Node& node) {
  Record& record = begin(Kind::node, node.name());
  const std::int64_t module = node.scope() - first_scope_;
  const bool known = node.scope() >= first_scope_ && module < open_ &&
                     records_[static_cast<std::size_t>(module)].kind == Kind::module;
  record.module = known ? static_cast<int>(module) : -1;
  record.begin_ns = now();
}

void Profiler::begins(const ModuleCall& call) {
  const auto path = paths_.find(call.module);
  std::string name = path != paths_.end() ? path->second : type_name(call.type);
  if (path == paths_.end() && open_module_ >= 0) {
    name = records_[static_cast<std::size_t>(open_module_)].name + "." + name;
  }
  begin(Kind::module, std::move(name)).begin_ns = now();
  open_module_ = open_;
}

void Profiler::ends() {
  Record& record = records_[static_cast<std::size_t>(open_)];
  wait_for(record.device);
  record.end_ns = now();
  record.memory_after = memory_in_use();
  open_ = record.parent;
  if (record.kind == Kind::module) open_module_ = record.module;
}

template <class F>
void Profiler::for_each_module(const Record& record, const F& f) const {
  for (int i = record.module; i >= 0; i = records_[static_cast<std::size_t>(i)].module) {
    f(records_[static_cast<std::size_t>(i)]);
  }
}

namespace {

void add_kernel(ProfileRow& row, double seconds, double flops, double bytes) {
  row.kernel_s += seconds;
  row.flops += flops;
  row.flop_s += flops > 0 ? seconds : 0;
  row.bytes += bytes;
}

}  // namespace

std::vector<ProfileRow> Profiler::operations() const {
  std::map<std::string, ProfileRow> rows;
  for (const Record& record : records_) {
    if (record.kind == Kind::module) continue;
    const Record* node = nullptr;  // the outermost around it
    for (int i = record.parent; i >= 0; i = records_[static_cast<std::size_t>(i)].parent) {
      const Record& around = records_[static_cast<std::size_t>(i)];
      if (around.kind == Kind::node) node = &around;
    }
    ProfileRow& row = rows[node ? node->name : record.name];
    if (record.kind == Kind::kernel) {
      add_kernel(row, record.seconds(), record.flops, record.bytes);
      row.memory_bytes = std::max(row.memory_bytes, static_cast<double>(record.memory_before));
      if (node) continue;
      ++row.forward_calls;
      row.forward_s += record.seconds();
    } else if (!node) {
      ++row.backward_calls;
      row.backward_s += record.seconds();
    }
  }
  return by_time(std::move(rows));
}

std::vector<ProfileRow> Profiler::modules() const {
  std::map<std::string, ProfileRow> rows;
  for (const Record& record : records_) {
    if (record.kind == Kind::module) {
      ProfileRow& row = rows[record.name];
      ++row.forward_calls;
      row.forward_s += record.seconds();
      row.memory_bytes += static_cast<double>(record.memory_after - record.memory_before);
      continue;
    }
    // A kernel of the backward pass belongs to the modules of its node.
    const Record* owner = &record;
    bool nested_node = false;
    for (int i = record.parent; i >= 0; i = records_[static_cast<std::size_t>(i)].parent) {
      if (records_[static_cast<std::size_t>(i)].kind != Kind::node) continue;
      owner = &records_[static_cast<std::size_t>(i)];
      nested_node = record.kind == Kind::node;
    }
    if (nested_node) continue;  // its time is the outer node's already
    for_each_module(*owner, [&](const Record& module) {
      ProfileRow& row = rows[module.name];
      if (record.kind == Kind::kernel) {
        add_kernel(row, record.seconds(), record.flops, record.bytes);
      } else {
        ++row.backward_calls;
        row.backward_s += record.seconds();
      }
    });
  }
  for (auto& [name, row] : rows) {
    if (row.forward_calls > 0) row.memory_bytes /= static_cast<double>(row.forward_calls);
  }
  return by_time(std::move(rows));
}

std::string Profiler::table(std::size_t rows) const {
  std::string text;
  append_rows(text, "operation", "peak MB", operations(), rows);
  const std::vector<ProfileRow> all = modules();
  if (!all.empty()) {
    text += '\n';
    append_rows(text, "module", "kept MB", all, rows);
  }
  return text;
}

void Profiler::write_trace(const std::filesystem::path& path) const {
  constexpr const char* kKinds[] = {"kernel", "node", "module"};
  const auto us = [](std::int64_t ns) { return 1e-3 * static_cast<double>(ns); };
  // Event by event: a trace of many steps is larger than one would like to hold as JSON.
  write_file_atomically(path, [&](FileWriter& file) {
    const char* separator = "\n";
    const auto write = [&](const nlohmann::json& event) {
      file.write(separator);
      file.write(event.dump());
      separator = ",\n";
    };
    file.write(R"({"displayTimeUnit": "ms", "traceEvents": [)");
    for (const Record& r : records_) {
      nlohmann::json args = nlohmann::json::object();
      if (!r.detail.empty()) args["tensors"] = r.detail;
      if (r.bytes > 0) args["MB"] = 1e-6 * r.bytes;
      if (r.flops > 0) args["GFLOP"] = 1e-9 * r.flops;
      if (r.kind == Kind::node && r.module >= 0) {
        args["module"] = records_[static_cast<std::size_t>(r.module)].name;
      }
      write({{"name", r.name},
             {"cat", kKinds[static_cast<int>(r.kind)]},
             {"ph", "X"},
             {"ts", us(r.begin_ns)},
             {"dur", us(r.end_ns - r.begin_ns)},
             {"pid", 1},
             {"tid", 1},
             {"args", std::move(args)}});
      if (r.kind != Kind::kernel) continue;
      write({{"name", "memory in use"},
             {"ph", "C"},
             {"ts", us(r.begin_ns)},
             {"pid", 1},
             {"args", {{"MB", 1e-6 * static_cast<double>(r.memory_before)}}}});
    }
    file.write("\n]}\n");
  });
}

}  // namespace invar
