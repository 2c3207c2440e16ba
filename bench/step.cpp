// One VICReg training step: two forward passes, loss, backward, SGD with momentum.
//
//   bench_step BATCH CHANNELS SIZE D STEPS [resnet18|resnet50|narrow16] [--precision f32|bf16]
//              [--device cpu|cuda] [--cuda-graph on|off] [--benchmark on|off] [--profile TRACE]
//   bench_step 128 3 32 2048 4
//
// Prints one JSON object: median and minimum seconds, images/s (both views counted), memory: the
// peak of the device's allocator and of the process less what each held once the model was built,
// and what the allocator holds in the end, in use or for reuse. With --profile, one more step is
// recorded: where its time goes is printed to the standard error output, the trace goes to the
// file. bench/compare runs PyTorch's step (torch_step.py) beside it.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <invar/autodiff/profiler.hpp>
#include <invar/core/allocator.hpp>
#include <invar/core/autocast.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/profile.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/nn/step_graph.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/machine.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <nlohmann/json.hpp>
#include <string>

using namespace invar;

namespace {

class Networks : public nn::Module {
 public:
  Networks(int depth, const nn::ResNetOptions& options, std::int64_t d)
      : encoder(depth, options),
        expander(ssl::make_expander(encoder.num_features(),
                                    {.layers = {d, d, d}, .hidden_bias = false})) {}
  Tensor forward(const Tensor& x) override { return expander(encoder(x)); }

  nn::ResNet encoder;
  nn::Sequential expander;

 private:
  void members(nn::Members& m) override {
    m("encoder", encoder);
    m("expander", expander);
  }
};

/// A line of /proc/self/status in megabytes: VmRSS (resident now), VmHWM (its peak).
double process_mb(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return 1.024e-3 * std::stod(line.substr(key.size() + 1));
  }
  fail("bench_step", "expected {} in /proc/self/status", key);
}

/// Removes `name` and the value behind it from the arguments; returns the value.
std::string take_option(std::vector<std::string>& args, std::string_view name,
                        std::string value = {}) {
  const auto at = std::find(args.begin(), args.end(), name);
  if (at == args.end()) return value;
  check(at + 1 != args.end(), "bench_step", "expected a value behind {}", name);
  value = at[1];
  args.erase(at, at + 2);
  return value;
}

bool take_switch(std::vector<std::string>& args, std::string_view name) {
  const std::string value = take_option(args, name, "off");
  check(value == "on" || value == "off", "bench_step", "expected {} on or off, got {}", name,
        value);
  return value == "on";
}

std::int64_t positive(const std::string& text) {
  const std::int64_t number = std::atoll(text.c_str());
  check(number >= 1, "bench_step", "expected numbers of at least 1, got {}", text);
  return number;
}

int run(std::vector<std::string> args) {
  const std::string trace = take_option(args, "--profile");
  const std::string precision = take_option(args, "--precision", "f32");
  check(precision == "f32" || precision == "bf16", "bench_step",
        "expected --precision f32 or bf16, got {}", precision);
  const Device device = parse_device(take_option(args, "--device", "cpu"));
  const bool replays = take_switch(args, "--cuda-graph");
  const bool timed = take_switch(args, "--benchmark");
  cuda::set_benchmark(timed);
  const CachingAllocator& memory = allocator(device);
  check(args.size() == 5 || args.size() == 6, "bench_step",
        "expected BATCH CHANNELS SIZE D STEPS [resnet18|resnet50|narrow16] "
        "[--precision f32|bf16] [--device cpu|cuda] [--cuda-graph on|off] [--benchmark on|off] "
        "[--profile TRACE], got {} arguments",
        args.size());
  const std::int64_t batch = positive(args[0]), channels = positive(args[1]),
                     size = positive(args[2]), d = positive(args[3]), steps = positive(args[4]);
  const std::string arch = args.size() == 6 ? args[5] : "resnet18";
  check(arch == "resnet18" || arch == "resnet50" || arch == "narrow16", "bench_step",
        "expected resnet18, resnet50 or narrow16, got {}", arch);

  Networks networks(
      arch == "resnet50" ? 50 : 18,
      {.in_channels = channels, .width = arch == "narrow16" ? 16 : 64, .stem = nn::Stem::cifar}, d);
  networks.to(device);
  nn::SGD optimizer(networks, {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-6});
  ssl::Vicreg objective({});
  const Tensor x = randn({batch, size, size, channels}, {.device = device});
  const Tensor y = randn({batch, size, size, channels}, {.device = device});
  const std::size_t built = memory.stats().in_use;
  const double built_mb = process_mb("VmRSS");
  std::vector<double> seconds;
  double loss = 0;
  std::uint64_t from_system = 0;
  const auto loss_and_gradients = [&](const Tensors& views) -> Tensors {
    const auto output = [&] {
      const Autocast guard(precision == "bf16" ? DType::bf16 : DType::f32);
      return objective({networks(views[0]), networks(views[1])});
    }();
    output.loss.backward();
    return {output.loss.detach()};
  };
  nn::StepGraph graph(networks, loss_and_gradients, 2);
  const auto step = [&] {
    if (!replays) optimizer.zero_grad();
    const Tensors values = replays ? graph({x, y}) : loss_and_gradients({x, y});
    optimizer.step();
    loss = values[0].item();  // waits for a GPU, too
  };
  const std::int64_t warm_up = replays ? 4 : 2;
  for (std::int64_t i = 0; i < steps + warm_up; ++i) {
    if (i == warm_up) from_system = memory.stats().from_system;
    const auto start = std::chrono::steady_clock::now();
    step();
    const auto taken = std::chrono::steady_clock::now() - start;
    if (i >= warm_up) seconds.push_back(std::chrono::duration<double>(taken).count());
  }
  check(!replays || graph.is_recorded(), "bench_step", "expected a step that can be replayed{}",
        device == kCpu ? ", got --device cpu" : ": " + graph.refusal());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  nlohmann::json result = {
      {"arch", arch},
      {"precision", precision},
      {"device", to_string(device)},
      {"cuda_graph", replays},
      {"benchmark", timed},
      {"batch", batch},
      {"image", {channels, size, size}},
      {"d", d},
      {"median_s", median},
      {"min_s", seconds.front()},
      {"images_per_s", 2.0 * static_cast<double>(batch) / median},
      {"loss", loss},
      {"blocks_from_system_per_step",
       static_cast<double>(memory.stats().from_system - from_system) / static_cast<double>(steps)},
      {"memory_mb", process_mb("VmHWM") - built_mb},
      {"process_peak_mb", process_mb("VmHWM")},
      {"processor", machine().processor},
      {"instruction_set", machine().instruction_set},
      {"native_bf16", has_native_bf16()},
      {"threads", machine().threads}};
  if (!replays) {  // a recorded step has memory of its own
    result["allocator_peak_mb"] = static_cast<double>(memory.stats().peak - built) / 1e6;
    result["allocator_held_mb"] =
        static_cast<double>(memory.stats().in_use + memory.stats().cached - built) / 1e6;
  }
  if (device.type == DeviceType::cuda) result["gpu"] = describe_gpu(device);
  fmt::print("{}\n", result.dump());
  if (!trace.empty()) {
    Profiler profiler;
    nn::name_modules(profiler, networks, "networks");
    {
      ProfilerScope scope(profiler);
      step();
    }
    fmt::print(stderr, "{}", profiler.table());
    profiler.write_trace(trace);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
