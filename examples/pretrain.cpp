// pretrain: self-supervised training of an encoder from a JSON configuration.
//
//   pretrain examples/configs/quickstart.json --out runs/first [--set training.epochs=3] [--seed 1]
//   pretrain --out runs/first --resume
//   pretrain CONFIG --out runs/first --profile runs/first.trace.json
//
// The run directory is described in common/run_directory.hpp, the configuration in
// common/experiment.hpp. Ctrl-C saves a checkpoint and says how to go on.
#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <invar/autodiff/profiler.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/progress.hpp>
#include <invar/core/random.hpp>
#include <invar/data/loader.hpp>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/nn/profile.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/view.hpp>
#include <iostream>

#include "common/encoder_file.hpp"
#include "common/experiment.hpp"
#include "common/run_directory.hpp"
#include "common/scoring.hpp"

using namespace invar;

namespace {

volatile std::sig_atomic_t interrupted = 0;

/// The first signal asks for an orderly end; a second one ends the process at once.
void ask_to_stop() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { interrupted = signal; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The networks that are trained: images -> features -> embeddings.
class Networks : public nn::Module {
 public:
  Networks(const app::Experiment& experiment, int channels)
      : encoder(experiment.make_encoder(channels)),
        expander(experiment.make_expander(encoder.num_features())) {}

  nn::ResNet encoder;
  nn::Sequential expander;

  /// One embedding per view.
  Tensors embed(const Tensors& views, bool jointly) {
    if (!jointly) {
      Tensors embeddings;
      for (const Tensor& view : views) embeddings.push_back(expander(encoder(view)));
      return embeddings;
    }
    return split(expander(encoder(cat(views, 0))), views[0].size(0), 0);
  }

 private:
  void members(nn::Members& m) override {
    m("encoder", encoder);
    m("expander", expander);
  }
};

/// One training run, from wherever its directory says it is.
class Training {
 public:
  Training(const app::Experiment& experiment, app::RunDirectory run, DatasetPtr images)
      : experiment_(experiment),
        options_(experiment.training),
        run_(std::move(run)),
        checkpoints_(run_.checkpoints(), experiment.checkpoints.keep),
        loader_(images, experiment.views,
                {.batch_size = options_.batch_size,
                 .seed = experiment.seed,
                 .workers = options_.workers}),
        networks_(experiment, loader_.view_shapes()[0].channels),
        optimizer_(experiment.make_optimizer(networks_)),
        schedule_(experiment.make_schedule(loader_.steps_per_epoch())),
        total_steps_(options_.epochs * loader_.steps_per_epoch()) {
    if (options_.ema_decay > 0) average_.emplace(networks_.encoder, options_.ema_decay);
  }

  /// Goes on from the newest checkpoint, if there is one.
  void resume() {
    if (const auto file = checkpoints_.latest()) {
      const nn::TrainingState saved = nn::load_checkpoint(*file, parts());
      step_ = saved.step;
      const Json own = Json::parse(saved.metadata.at("pretrain"));
      epoch_loss_ = own.at("epoch_loss").get<double>();
      train_seconds_ = own.at("train_seconds").get<double>();
    }
    run_.cut_metrics(step_);
    loader_.start(step_ / loader_.steps_per_epoch(), step_ % loader_.steps_per_epoch());
  }

  /// Records five steps, once the first ones have made what is made once; the table of where their
  /// time went is printed, the trace goes to this file.
  void profile(std::filesystem::path trace) {
    nn::name_modules(profiler_, networks_, "networks");
    trace_ = std::move(trace);
  }

  /// Trains to the end, or until a signal asks to stop; true iff it got to the end.
  bool run() {
    const std::int64_t images_per_step = options_.batch_size;
    Progress progress("pretrain", "images", total_steps_ * images_per_step,
                      step_ * images_per_step);
    const std::int64_t steps_per_epoch = loader_.steps_per_epoch();
    const std::int64_t profile_begin = step_ + 3, profile_end = profile_begin + 5;
    while (step_ < total_steps_ && !interrupted) {
      const auto start = std::chrono::steady_clock::now();
      std::optional<ProfilerScope> profiled;
      if (trace_ && step_ >= profile_begin && step_ < profile_end) profiled.emplace(profiler_);
      const ssl::ObjectiveOutput output = train_step();
      profiled.reset();
      if (trace_ && step_ + 1 == profile_end) report_profile(progress);
      const double loss = output.loss.item();
      train_seconds_ += seconds_since(start);
      check(std::isfinite(loss), "pretrain",
            "expected a finite loss, got {} at step {}: training diverged; try a smaller learning "
            "rate or a longer warm-up. The last checkpoint is good",
            loss, step_);
      ++step_;
      epoch_loss_ += loss / static_cast<double>(steps_per_epoch);
      progress.update(step_ * images_per_step,
                      {{"epoch", static_cast<double>(step_) / static_cast<double>(steps_per_epoch)},
                       {"loss", loss}});
      if (step_ % options_.log_every == 0 || step_ == total_steps_) log_step(output);
      if (step_ % steps_per_epoch == 0) {
        end_epoch(progress);
      } else if (experiment_.checkpoints.every_steps > 0 &&
                 step_ % experiment_.checkpoints.every_steps == 0) {
        save({});
      }
    }
    if (step_ < total_steps_) {
      save({});
      progress.note(fmt::format("stopped at step {} of {}; go on with: pretrain --out {} --resume",
                                step_, total_steps_, run_.path().string()));
      return false;
    }
    progress.finish();
    return true;
  }

  /// The averaged encoder's batch-norm statistics are those of other weights: measures them anew,
  /// on images as evaluation sees them.
  void refresh_average(const DatasetPtr& images) {
    if (!average_) return;
    constexpr std::int64_t kBatches = 40;
    Loader loader(images, {experiment_.test_view},
                  {.batch_size = std::min<std::int64_t>(250, images->size()),
                   .seed = experiment_.seed,
                   .workers = options_.workers,
                   .epochs = 1});
    std::int64_t done = 0;
    nn::update_bn(average_->model(), [&]() -> Tensor {
      if (loader.done() || done++ == kBatches) return {};
      return loader.next().views[0];
    });
  }

  /// What is evaluated: the averaged encoder if there is one.
  nn::ResNet& encoder() { return average_ ? average_->model() : networks_.encoder; }
  double train_seconds() const { return train_seconds_; }
  double seconds_waited() const { return loader_.seconds_waited(); }
  std::int64_t step() const { return step_; }

 private:
  ssl::ObjectiveOutput train_step() {
    const Batch batch = loader_.next();
    optimizer_->set_lr(schedule_->lr(step_));
    optimizer_->zero_grad();
    ssl::ObjectiveOutput output =
        (*experiment_.objective)(networks_.embed(batch.views, options_.joint_views));
    output.loss.backward();
    output.loss = output.loss.detach();
    if (options_.clip_grad_norm > 0) {
      nn::clip_grad_norm_(networks_.parameters(), options_.clip_grad_norm);
    }
    optimizer_->step();
    if (average_) average_->update(networks_.encoder);
    return output;
  }

  void report_profile(Progress& progress) {
    profiler_.write_trace(*trace_);
    progress.note(fmt::format("five steps:\n{}wrote {}", profiler_.table(), trace_->string()));
    profiler_.clear();
  }

  void log_step(const ssl::ObjectiveOutput& output) {
    Json line = {
        {"step", step_},
        {"epoch", static_cast<double>(step_) / static_cast<double>(loader_.steps_per_epoch())},
        {"loss", output.loss.item()},
        {"lr", optimizer_->lr()},
        {"train_seconds", train_seconds_}};
    for (const auto& [name, value] : output.terms) line[name] = value.item();
    run_.log(line);
  }

  void end_epoch(Progress& progress) {
    const std::int64_t epoch = step_ / loader_.steps_per_epoch();
    run_.log({{"step", step_}, {"epoch", epoch}, {"epoch_loss", epoch_loss_}});
    progress.note(fmt::format("epoch {}: mean loss {:.4f}", epoch, epoch_loss_));
    // The best checkpoint is the one with the smallest loss: labels have no say in it.
    const double score = -epoch_loss_;
    epoch_loss_ = 0;
    save(score);
  }

  void save(std::optional<double> score) {
    checkpoints_.save(
        parts(),
        {.step = step_,
         .epoch = step_ / loader_.steps_per_epoch(),
         .score = score,
         .metadata = {
             {"config", run_.config().dump()},
             {"pretrain",
              Json{{"epoch_loss", epoch_loss_}, {"train_seconds", train_seconds_}}.dump()}}});
  }

  nn::CheckpointParts parts() {
    return {.model = &networks_,
            .optimizer = optimizer_.get(),
            .ema = average_ ? &average_->model() : nullptr};
  }

  const app::Experiment& experiment_;
  const app::TrainingOptions& options_;
  app::RunDirectory run_;
  nn::CheckpointFolder checkpoints_;
  Loader loader_;
  Networks networks_;
  std::unique_ptr<nn::Optimizer> optimizer_;
  std::unique_ptr<nn::Schedule> schedule_;
  std::optional<nn::Ema<nn::ResNet>> average_;
  std::int64_t total_steps_;
  std::int64_t step_ = 0;
  double epoch_loss_ = 0;  ///< of the steps of the current epoch so far, over all its steps
  double train_seconds_ = 0;
  Profiler profiler_;
  std::optional<std::filesystem::path> trace_;
};

/// A module that hands the pixels on as features.
class RawPixels : public nn::Module {
 public:
  Tensor forward(const Tensor& x) override { return flatten(x, 1); }
};

/// Evaluates on the labelled data; adds "<name>_knn" and "<name>_linear" to `result`.
void evaluate(const app::Experiment& experiment, nn::Module& encoder, const DatasetPtr& train,
              const DatasetPtr& test, const std::string& name, Json& result) {
  const auto scores =
      app::score(app::features_of(encoder, train, experiment.test_view, name + ": train features"),
                 app::features_of(encoder, test, experiment.test_view, name + ": test features"),
                 static_cast<std::int64_t>(train->classes().size()), experiment.evaluation.knn,
                 experiment.evaluation.linear);
  result[name + "_knn"] = scores.knn;
  result[name + "_linear"] = scores.linear;
  fmt::print("{:<8} kNN {:6.2f} %   linear {:6.2f} %\n", name, scores.knn, scores.linear);
  std::fflush(stdout);
}

int pretrain(app::RunDirectory run, bool resuming, const std::string& profile) {
  const auto start = std::chrono::steady_clock::now();
  const app::Experiment experiment(run.config());
  for (const std::string& difference : run.record_environment()) {
    if (resuming) fmt::print(stderr, "pretrain: results may change slightly: {}\n", difference);
  }
  manual_seed(experiment.seed);
  set_conv_algorithm(experiment.training.conv_algorithm);
  const DatasetPtr train = experiment.load(Split::train);
  const bool labelled = !train->classes().empty();
  const DatasetPtr test = labelled ? experiment.load(Split::test) : nullptr;

  Training training(experiment, run, train);
  Json result = Json::object();
  if (experiment.evaluation.baselines && labelled) {
    RawPixels raw;
    evaluate(experiment, raw, train, test, "raw", result);
    evaluate(experiment, training.encoder(), train, test, "random", result);
  }
  training.resume();
  if (!profile.empty()) training.profile(profile);
  if (!training.run()) return 128 + interrupted;
  training.refresh_average(train);
  app::save_encoder(run.path() / "encoder.safetensors", training.encoder(), run.config());
  if (labelled) evaluate(experiment, training.encoder(), train, test, "trained", result);
  result["steps"] = training.step();
  result["train_seconds"] = training.train_seconds();
  result["total_seconds"] = seconds_since(start);
  run.write_json("result.json", result);
  fmt::print("wrote {}\n", (run.path() / "result.json").string());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Self-supervised training of an encoder from a JSON configuration.");
  std::string config_path, out, profile;
  std::vector<std::string> overrides;
  std::optional<std::uint64_t> seed;
  bool resume = false;
  app.add_option("config", config_path, "JSON configuration (examples/configs has some)");
  app.add_option("--out", out, "run directory, made by this program")->required();
  app.add_option("--set", overrides, "override a value: training.epochs=3")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--seed", seed, "the same as --set seed=N");
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
    ask_to_stop();
    if (resume) return pretrain(app::RunDirectory::open(out), true, profile);
    Json config = app::read_json(config_path);
    for (const std::string& assignment : overrides) app::apply_override(config, assignment);
    if (seed) config["seed"] = *seed;
    // A configuration that is wrong must not leave a directory behind.
    const app::Experiment checked(config);
    return pretrain(app::RunDirectory::create(out, config), false, profile);
  } catch (const std::exception& error) {
    fmt::print(stderr, "pretrain: {}\n", error.what());
    return 1;
  }
}
