// One VICReg training step: two forward passes, loss, backward, SGD with momentum.
//
//   bench_step BATCH CHANNELS SIZE D STEPS [resnet18|resnet50|narrow16]
//   bench_step 128 3 32 2048 4
//
// Prints one JSON object: median and minimum seconds, images/s (both views counted), peak memory of
// the allocator and of the process. bench/compare_step runs PyTorch's step beside it.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <invar/core/allocator.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/machine.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/vicreg.hpp>
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

int run(const std::vector<std::string>& args) {
  check(args.size() == 5 || args.size() == 6, "bench_step",
        "expected BATCH CHANNELS SIZE D STEPS [resnet18|resnet50|narrow16], got {} arguments",
        args.size());
  const std::int64_t batch = std::stoll(args[0]), channels = std::stoll(args[1]),
                     size = std::stoll(args[2]), d = std::stoll(args[3]),
                     steps = std::stoll(args[4]);
  const std::string arch = args.size() == 6 ? args[5] : "resnet18";
  check(arch == "resnet18" || arch == "resnet50" || arch == "narrow16", "bench_step",
        "expected resnet18, resnet50 or narrow16, got {}", arch);

  Networks networks(
      arch == "resnet50" ? 50 : 18,
      {.in_channels = channels, .width = arch == "narrow16" ? 16 : 64, .stem = nn::Stem::cifar}, d);
  nn::SGD optimizer(networks, {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-6});
  const ssl::Vicreg objective({});
  const Tensor x = randn({batch, size, size, channels}), y = randn({batch, size, size, channels});
  const std::size_t built = allocator().stats().in_use;
  std::vector<double> seconds;
  double loss = 0;
  constexpr std::int64_t kWarmUp = 2;
  std::uint64_t from_system = 0;
  for (std::int64_t i = 0; i < steps + kWarmUp; ++i) {
    if (i == kWarmUp) from_system = allocator().stats().from_system;
    const auto start = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    const auto output = objective({networks(x), networks(y)});
    output.loss.backward();
    optimizer.step();
    loss = output.loss.item();
    const auto taken = std::chrono::steady_clock::now() - start;
    if (i >= kWarmUp) seconds.push_back(std::chrono::duration<double>(taken).count());
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const nlohmann::json result = {
      {"arch", arch},
      {"batch", batch},
      {"image", {channels, size, size}},
      {"d", d},
      {"median_s", median},
      {"min_s", seconds.front()},
      {"images_per_s", 2.0 * static_cast<double>(batch) / median},
      {"loss", loss},
      {"allocator_peak_mb", static_cast<double>(allocator().stats().peak - built) / 1e6},
      {"blocks_from_system_per_step",
       static_cast<double>(allocator().stats().from_system - from_system) /
           static_cast<double>(steps)},
      {"process_peak_mb", static_cast<double>(usage.ru_maxrss) / 1e3},
      {"processor", machine().processor},
      {"instruction_set", machine().instruction_set},
      {"threads", machine().threads}};
  fmt::print("{}\n", result.dump());
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
