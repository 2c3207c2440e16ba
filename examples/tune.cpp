// tune: which algorithm is faster for each convolution of a training step, on this machine?
//
//   tune quickstart.json --out tuned.json
//   pretrain quickstart.json --out runs/first --set training.conv_choices=tuned.json
//
// Runs the step's encoder and expander on random images of the configuration's shapes, forward and
// backward, and times both algorithms on every convolution that has the choice
// (ops/conv_choices.hpp). Nothing else may run on the machine meanwhile.
#include <CLI/CLI.hpp>
#include <invar/core/autocast.hpp>
#include <invar/core/file.hpp>
#include <invar/core/version.hpp>
#include <invar/data/loader.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>

#include "common/experiment.hpp"
#include "common/process.hpp"
#include "common/run_directory.hpp"
#include "common/training.hpp"
#include "common/tuning.hpp"

using namespace invar;

namespace {

/// Random images of the shapes of the views, a batch of each.
Tensors random_views(const app::Experiment& experiment) {
  const Loader loader(experiment.load(Split::train), experiment.views,
                      {.batch_size = experiment.training.batch_size, .workers = 1});
  Tensors views;
  for (const ImageShape& s : loader.view_shapes()) {
    views.push_back(randn({experiment.training.batch_size, s.height, s.width, s.channels}));
  }
  return views;
}

void step(app::Branch& branch, const app::TrainingOptions& options, const Tensors& views) {
  Tensors embeddings;
  {
    const Autocast precision(options.precision);
    embeddings = branch.embed(views, options.joint_views).embeddings;
  }
  Tensor loss;
  for (const Tensor& z : embeddings) loss = loss.defined() ? loss + sum(z) : sum(z);
  loss.backward();
}

void print(const std::vector<ConvTiming>& timings) {
  fmt::print("{:<16} {:<5} {:>22} {:>20} {:>6} {:>10} {:>12}  choice\n", "pass", "dtype", "input",
             "weight", "stride", "direct ms", "winograd ms");
  for (const Json& t : app::to_json(timings)) {
    fmt::print("{:<16} {:<5} {:>22} {:>20} {:>6} {:>10.2f} {:>12.2f}  {}\n",
               t["pass"].get<std::string>(), t["dtype"].get<std::string>(), t["input"].dump(),
               t["weight"].dump(), t["stride"].dump(), t["direct_ms"].get<double>(),
               t["winograd_ms"].get<double>(), t["algorithm"].get<std::string>());
  }
}

}  // namespace

int main(int argc, char** argv) {
  app::settle_process();
  CLI::App app("Times both algorithms on the convolutions of a training step.");
  std::string config_path, out = "tuned.json";
  std::vector<std::string> overrides;
  app.set_version_flag("--version", std::string(version()));
  app.add_option("config", config_path, "JSON configuration of pretrain")->required();
  app.add_option("--set", overrides, "override a value: training.batch_size=128")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--out", out, "where the choices go")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    app::check_writable("--out", out);
    Json config = app::read_json(config_path);
    for (const std::string& assignment : overrides) app::apply_override(config, assignment);
    if (config.contains("training") && config["training"].is_object()) {
      config["training"].erase("conv_choices");
    }
    const app::Experiment experiment(config);
    check(experiment.training.device == kCpu, "tune",
          "expected training.device \"cpu\", got {}: it is the CPU's convolutions that have the "
          "choice (for a GPU's, training.benchmark)",
          experiment.training.device);
    set_conv_algorithm(experiment.training.conv_algorithm);
    const Tensors views = random_views(experiment);
    app::Branch branch(experiment, static_cast<int>(views[0].size(3)));
    const std::vector<ConvTiming> timings =
        tune_convolutions([&] { step(branch, experiment.training, views); });
    print(timings);
    write_file_atomically(out, app::to_json(timings).dump(1) + "\n");
    fmt::print("wrote {}\n", out);
  } catch (const std::exception& error) {
    app::tell("tune: {}", error.what());
    return 1;
  }
}
