#include "pretrain.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <invar/core/random.hpp>
#include <invar/core/version.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/machine.hpp>
#include <invar/ops/view.hpp>

#include "encoder_file.hpp"
#include "process.hpp"
#include "scoring.hpp"
#include "training.hpp"
#include "tuning.hpp"

namespace invar::app {
namespace {

// A signal asks training for an orderly end, which saves a checkpoint. Before and after there is
// nothing to save, but hours of evaluation may lie ahead: it ends the process. So does a second
// one.
volatile std::sig_atomic_t interrupted = 0;
volatile std::sig_atomic_t training_runs = 0;
const char* volatile farewell = "\npretrain: stopped before anything was written\n";

void handle_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) {
    interrupted = signal;
    if (training_runs) return;
    [[maybe_unused]] const ssize_t told = ::write(STDERR_FILENO, farewell, std::strlen(farewell));
    ::_exit(128 + signal);
  };
  action.sa_flags = SA_RESETHAND | SA_RESTART;  // a save goes on
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction hangup;  // the terminal went; nohup ignores that
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
}

/// A module that hands the pixels on as features.
class RawPixels : public nn::Module {
 public:
  Tensor forward(const Tensor& x) override { return flatten(x, 1); }
};

/// Evaluates on the labelled data; adds "<name>_knn" and "<name>_linear" to `result`.
void evaluate(const Experiment& experiment, nn::Module& encoder, const DatasetPtr& train,
              const DatasetPtr& test, const std::string& name, Json& result) {
  const auto features = [&](const DatasetPtr& images, const char* which) {
    return features_of(encoder, images, experiment.test_view,
                       fmt::format("{}: {} features", name, which), experiment.training.device);
  };
  const ssl::LabelledFeatures known = features(train, "train"), asked = features(test, "test");
  const auto scores = score(known, asked, static_cast<std::int64_t>(train->classes().size()),
                            experiment.evaluation.knn, experiment.evaluation.linear, name + ": ");
  result[name + "_knn"] = scores.knn;
  result[name + "_linear"] = scores.linear;
  // As with tell, nobody has to read it: result.json has it, too.
  const std::string line =
      fmt::format("{:<8} kNN {:6.2f} %   linear {:6.2f} %\n", name, scores.knn, scores.linear);
  std::fputs(line.c_str(), stdout);
  std::fflush(stdout);
}

/// What holds for the whole process; tells what makes it slow.
void apply_settings(const Experiment& experiment) {
  const TrainingOptions& options = experiment.training;
  manual_seed(experiment.seed);
  set_conv_algorithm(options.conv_algorithm);
  set_conv_choices(options.conv_choices);
  cuda::set_allow_tf32(options.allow_tf32);
  cuda::use_deterministic_algorithms(options.deterministic);
  cuda::set_benchmark(options.benchmark);
  cuda::set_workspace_limit(static_cast<std::size_t>(options.workspace_mb) << 20);
  if (options.precision == DType::bf16 && options.device.type == DeviceType::cpu &&
      !has_native_bf16()) {
    tell(
        "pretrain: this processor has no bf16 instructions: bf16 works, but is slower than f32 "
        "here");
  }
  if (const std::string advice = openblas_advice(); !advice.empty()) {
    tell("pretrain: {}", advice);
  }
}

/// Where images differ in size, each has to suit the transforms.
void check_sizes(const Dataset& images, const std::vector<Pipeline>& pipelines) {
  if (is_known(images.shape())) return;  // seen to by whoever asks for the shape of the views
  Sample sample;
  for (std::int64_t i = 0; i < images.size(); ++i) {
    images.read(i, sample);
    for (const Pipeline& pipeline : pipelines) pipeline.output_shape(sample.image.shape);
  }
}

int pretrain(RunDirectory run, bool resuming, const std::string& profile) {
  const auto start = std::chrono::steady_clock::now();
  const Experiment experiment(run.config());
  // What is wrong with the objective is told before the data is read, and so before it is known
  // whether there is enough of it for a large batch, which may take a lot of memory.
  constexpr std::int64_t kSmallBatch = 1024;
  const std::int64_t batch_size = experiment.training.batch_size;
  try_objective(experiment, std::min(batch_size, kSmallBatch));
  apply_settings(experiment);
  const DatasetPtr train = experiment.load(Split::train);
  const bool labelled = !train->classes().empty();
  const DatasetPtr test =
      labelled || experiment.diagnostics.images > 0 ? experiment.load(Split::test) : nullptr;
  // Evaluation comes last: what would stop it is found here, before the training.
  const ImageShape seen = experiment.test_view.output_shape(train->shape());
  check_sizes(*train, experiment.views);
  if (labelled) {
    check_classes(*train, *test);
    check_sizes(*train, {experiment.test_view});
  }
  if (test) {
    check_sizes(*test, {experiment.test_view});
    check(experiment.test_view.output_shape(test->shape()).channels == seen.channels, "pretrain",
          "expected test images of {} channels, as the training images have, got {}", seen.channels,
          test->shape().channels);
  }

  Training training(experiment, run, train, test);
  training.try_shapes(seen);
  if (batch_size > kSmallBatch) try_objective(experiment, batch_size);
  // What is wrong with the configuration has shown by now: what is refused leaves no directory
  // behind.
  if (!resuming) run.start();
  static const std::string how_to_resume =
      fmt::format("\npretrain: stopped; go on with --out {} --resume\n", run.path().string());
  farewell = how_to_resume.c_str();
  for (const std::string& difference : run.record_environment(experiment.training.device)) {
    if (resuming) tell("pretrain: results may change slightly: {}", difference);
  }
  Json result = Json::object();
  if (experiment.evaluation.baselines && labelled) {
    RawPixels raw;
    evaluate(experiment, raw, train, test, "raw", result);
    evaluate(experiment, training.encoder(), train, test, "random", result);
  }
  training.resume();
  std::optional<double> seconds_before;  // of a run that was finished
  if (const auto file = run.path() / "result.json";
      training.finished() && std::filesystem::exists(file)) {
    seconds_before = JsonReader(read_json(file), file.string()).require<double>("total_seconds");
    tell("pretrain: this run was finished: it is evaluated again");
  }
  if (!profile.empty()) training.profile(profile);
  training_runs = 1;
  const bool finished = training.run(interrupted);
  training_runs = 0;
  if (!finished) return 128 + interrupted;
  training.refresh_average(train);
  save_encoder(run.path() / "encoder.safetensors", training.encoder(), run.config());
  if (labelled) evaluate(experiment, training.encoder(), train, test, "trained", result);
  result["steps"] = training.step();
  result["train_seconds"] = training.train_seconds();
  result["total_seconds"] = seconds_before.value_or(seconds_since(start));
  run.write_json("result.json", result);
  std::puts(("wrote " + (run.path() / "result.json").string()).c_str());
  return 0;
}

}  // namespace

int pretrain_main(int argc, char** argv) {
  settle_process();
  CLI::App app("Self-supervised training of an encoder from a JSON configuration.");
  std::string config_path, out, profile;
  std::vector<std::string> overrides;
  std::optional<std::uint64_t> seed;
  bool resume = false;
  app.set_version_flag("--version", std::string(version()));
  app.add_option("config", config_path,
                 "JSON configuration (examples/configs has some, docs/configuration.md every key)");
  app.add_option("--out", out, "run directory, made by this program")->required();
  app.add_option("--set", overrides, "override a value: training.epochs=3")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--seed", seed, "the same as --set seed=N")->check(seed_error);
  app.add_flag("--resume", resume, "go on with the run in --out from its last checkpoint");
  app.add_option(
      "--profile", profile,
      "profile five steps: print where the time goes, write a Chrome trace to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    check(resume != !config_path.empty(), "pretrain",
          "expected either a configuration or --resume: a run is resumed with the configuration "
          "that it was started with");
    check(!resume || (overrides.empty() && !seed), "pretrain",
          "expected no --set and no --seed beside --resume: start a new run to change them");
    if (!profile.empty()) check_writable("--profile", profile);
    handle_signals();
    if (resume) return pretrain(RunDirectory::open(out), true, profile);
    Json config = read_json(config_path);
    for (const std::string& assignment : overrides) apply_override(config, assignment);
    if (seed) config["seed"] = *seed;
    inline_conv_choices(config);
    check_device(Experiment(config).training.device);
    return pretrain(RunDirectory::create(out, config), false, profile);
  } catch (const std::exception& error) {
    tell("pretrain: {}", error.what());
    return 1;
  }
}

}  // namespace invar::app
