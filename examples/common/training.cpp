#include "training.hpp"

#include <algorithm>
#include <chrono>
#include <invar/core/autocast.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/nn/profile.hpp>
#include <invar/nn/safetensors.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cuda/settings.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <set>

#include "encoder_file.hpp"
#include "scoring.hpp"

namespace invar::app {
namespace {

/// Of a checkpoint's metadata: the plans of convolutions that were chosen by timing, and what else
/// a run needs to go on.
constexpr const char* kPlans = "conv_plans";
constexpr const char* kOwn = "pretrain";

/// What log_step writes beside the objective's terms.
const std::set<std::string> kLoggedBesideTerms = {"step", "epoch",         "loss",
                                                  "lr",   "train_seconds", "floor"};

/// So many steps a GPU may be behind.
constexpr std::size_t kStepsAhead = 8;

std::optional<FixedImages> load_fixed_images(const Experiment& experiment, const DatasetPtr& test) {
  const std::int64_t n = experiment.diagnostics.images;
  if (n == 0) return {};
  check(test != nullptr && n <= test->size(), "diagnostics",
        "expected at most {} images, the test split, got {}", test ? test->size() : 0, n);
  const auto& of = experiment.diagnostics.of;
  check(std::ranges::find(of, "bound") == of.end() || !test->classes().empty(), "diagnostics",
        "expected labelled data for \"bound\", got none");
  // Of one seed whatever the run's, in an order of its own: the first ones may be of one class.
  Loader loader(test, {experiment.test_view, experiment.views[0], experiment.views[1]},
                {.batch_size = n, .seed = 0, .workers = experiment.training.workers, .epochs = 1});
  const Batch batch = loader.next();
  const Device device = experiment.training.device;
  return FixedImages{to(batch.views[0], device),
                     {to(batch.views[1], device), to(batch.views[2], device)},
                     to(batch.labels, device)};
}

/// One diagnostic of what a network makes of views, under `key`.
void add_diagnostic(const std::string& name, const std::string& key, const Tensors& views,
                    Json& line) {
  const std::vector<std::string> lists = ssl::diagnostic_list_names();
  if (std::ranges::find(lists, name) != lists.end()) {
    line[key] = ssl::diagnostic_list(name, views);
  } else {
    line[key] = ssl::diagnostic(name, views);
  }
}

/// All diagnostics of f on the fixed images, under keys that start with `prefix`.
template <class F>
void add_fixed_diagnostics(const F& f, const FixedImages& fixed, const DiagnosticsOptions& options,
                           const std::string& prefix, Json& line) {
  // Those that need gradients keep every activation.
  const std::int64_t few = std::min<std::int64_t>(64, fixed.images.size(0));
  ssl::Surroundings around{f, narrow(fixed.images, 0, 0, few), narrow(fixed.views[0], 0, 0, few),
                           options.sigma};
  const std::vector<std::string> local = ssl::local_diagnostic_names();
  const auto of_all = [&](const Tensor& images) {
    return in_chunks([&](const Tensor& chunk) { return f(chunk); }, images, 500);
  };
  Tensors views;
  const auto outputs = [&]() -> const Tensors& {
    if (views.empty()) views = {of_all(fixed.views[0]), of_all(fixed.views[1])};
    return views;
  };
  for (const std::string& name : options.of) {
    if (name == "bound") {
      const Tensor z = of_all(fixed.images);
      for (const auto& [term, value] : ssl::bound_diagnostics(z, outputs(), fixed.labels)) {
        line[prefix + term] = value;
      }
    } else if (std::ranges::find(local, name) != local.end()) {
      if (name == "gaussian_entropy") around.outputs = of_all(fixed.images);
      line[prefix + name] = ssl::local_diagnostic(name, around);
    } else {
      add_diagnostic(name, prefix + name, outputs(), line);
    }
  }
}

}  // namespace

Branch::Output Branch::embed(const Tensors& views, bool jointly) {
  Output output;
  if (jointly) {
    const Tensor features = encoder(cat(views, 0));
    const std::int64_t n = views[0].size(0);
    return {split(features, n, 0), split(expander(features), n, 0)};
  }
  for (const Tensor& view : views) {
    output.features.push_back(encoder(view));
    output.embeddings.push_back(expander(output.features.back()));
  }
  return output;
}

void Branch::members(nn::Members& m) {
  m("encoder", encoder);
  m("expander", expander);
}

Networks::Networks(const Experiment& experiment, int channels)
    : online(experiment, channels), objective(experiment.make_objective()) {
  if (objective->needs().targets) target.emplace(online).requires_grad_(false);
  to(experiment.training.device);
}

void Networks::members(nn::Members& m) {
  m("encoder", online.encoder);
  m("expander", online.expander);
  m("objective", *objective);
  m("target", target);
}

void try_objective(const Experiment& experiment, std::int64_t n) {
  const Device device = experiment.training.device;
  const auto objective = experiment.make_objective();
  objective->to(device);
  const auto embeddings = [&](bool trained) {
    Tensors views;
    for (std::size_t i = 0; i < experiment.views.size(); ++i) {
      views.push_back(
          randn({n, experiment.embedding_dim()}, {.device = device, .requires_grad = trained}));
    }
    return views;
  };
  ssl::EmbeddedBatch batch{.embeddings = embeddings(true)};
  if (objective->needs().targets) {
    batch.targets = embeddings(false);
    objective->target_decay(0);
  }
  if (objective->needs().labels) batch.labels = zeros({n}, {.dtype = DType::i64, .device = device});
  const ssl::ObjectiveOutput output = (*objective)(batch);
  ssl::check_term_names(objective->name(), output, kLoggedBesideTerms);
  output.loss.backward();
}

namespace {

/// What a run keeps to: what is trained, and by what. Where, how fast and what is measured beside
/// it may change.
Json of_training(Json config) {
  for (const char* key : {"data", "checkpoints", "diagnostics", "evaluation"}) config.erase(key);
  if (const auto training = config.find("training"); training != config.end()) {
    for (const char* key :
         {"device", "workers", "log_every", "conv_algorithm", "conv_choices", "cuda_graph",
          "views_on_gpu", "allow_tf32", "deterministic", "benchmark", "workspace_mb"}) {
      training->erase(key);
    }
  }
  return config;
}

void check_same_training(const Metadata& of_checkpoint, const Json& config,
                         const std::string& file) {
  const auto found = of_checkpoint.find("config");
  check(found != of_checkpoint.end(), "pretrain", "expected a checkpoint of pretrain, got '{}'",
        file);
  const Json then = of_training(parse_json(found->second, file)), now = of_training(config);
  for (const Json& either : {then, now}) {
    for (const auto& [key, value] : either.items()) {
      check(then.value(key, Json()) == now.value(key, Json()), "pretrain",
            "expected the configuration that '{}' was trained with, got another \"{}\" in "
            "config.json: restore it, or start another run with it",
            file, key);
    }
  }
}

}  // namespace

Training::Training(const Experiment& experiment, RunDirectory run, DatasetPtr images,
                   const DatasetPtr& test)
    : experiment_(experiment),
      options_(experiment.training),
      run_(std::move(run)),
      checkpoints_(run_.checkpoints(), experiment.checkpoints.keep),
      loader_(images, experiment.views,
              {.batch_size = options_.batch_size,
               .seed = experiment.seed,
               .workers = options_.workers,
               .device = options_.device,
               .views_on_gpu = options_.views_on_gpu}),
      fixed_(load_fixed_images(experiment, test)),
      networks_(experiment, loader_.view_shapes()[0].channels),
      optimizer_(experiment.make_optimizer(networks_)),
      schedule_(experiment.make_schedule(loader_.steps_per_epoch())),
      floor_(networks_.objective->floor(options_.batch_size, experiment.embedding_dim())),
      images_(images->size()),
      total_steps_(options_.epochs * loader_.steps_per_epoch()) {
  check(!networks_.objective->needs().labels || !images->classes().empty(), "pretrain",
        "expected data with labels, got none: the objective \"{}\" is supervised",
        networks_.objective->name());
  const ImageShape first = loader_.view_shapes()[0];
  for (const ImageShape& view : loader_.view_shapes()) {
    check(
        !options_.joint_views || view == first, "training",
        "expected views of one size with \"joint_views\", got {} x {} and {} x {} pixels: let them "
        "have one, or set \"joint_views\" to false",
        first.height, first.width, view.height, view.width);
  }
  if (options_.ema_decay > 0) average_.emplace(networks_.online.encoder, options_.ema_decay);
}

void Training::try_shapes(const ImageShape& seen) {
  NoGrad guard;
  Branch& branch = networks_.online;
  const nn::ModeScope evaluating(branch, /*train=*/false);  // batch-norm keeps its statistics
  std::vector<ImageShape> shapes = loader_.view_shapes();
  shapes.push_back(seen);
  for (const ImageShape& shape : shapes) {
    branch.encoder(
        zeros({1, shape.height, shape.width, shape.channels}, {.device = options_.device}));
  }
}

void Training::resume() {
  if (const auto file = checkpoints_.latest()) {
    const auto read = [&](const auto& from_file) {
      try {
        return from_file();
      } catch (const Error& error) {
        fail(
            "pretrain",
            "expected to go on from '{}', got an error: {}: without that file the run goes on from "
            "the checkpoint before",
            file->string(), error.what());
      }
    };
    check_same_training(read([&] { return Metadata(SafetensorsFile(*file).metadata()); }),
                        run_.config(), file->string());
    const nn::TrainingState saved = read([&] { return nn::load_checkpoint(*file, parts()); });
    step_ = saved.step;
    if (const auto plans = saved.metadata.find(kPlans); plans != saved.metadata.end()) {
      const Json json = parse_json(plans->second, file->string());
      JsonReader reader(json, kPlans);
      cuda::PlanChoices choices;
      for (const auto& [key, plan] : json.items()) choices[key] = reader.require<std::string>(key);
      cuda::set_plan_choices(std::move(choices));
    }
    const auto own = saved.metadata.find(kOwn);
    check(own != saved.metadata.end(), "pretrain", "expected a checkpoint of pretrain, got '{}'",
          file->string());
    JsonReader reader(parse_json(own->second, file->string()), kOwn);
    // Steps are counted in epochs of the data.
    const auto images = reader.get("images", images_);
    check(
        images == images_, "pretrain",
        "expected the {} training images that '{}' was trained on, got {}: restore them, or start "
        "another run",
        images, file->string(), images_);
    check(saved.step >= 0 && saved.step <= total_steps_, "pretrain",
          "expected at most {} steps in '{}', got {}", total_steps_, file->string(), saved.step);
    epoch_loss_ = reader.require<double>("epoch_loss");
    train_seconds_ = reader.require<double>("train_seconds");
  }
  run_.cut_metrics(step_);
  loader_.start(step_ / loader_.steps_per_epoch(), step_ % loader_.steps_per_epoch());
}

void Training::profile(std::filesystem::path trace) {
  nn::name_modules(profiler_, networks_, "networks");
  trace_ = std::move(trace);
}

bool Training::run(const volatile std::sig_atomic_t& stop) {
  const std::int64_t images_per_step = options_.batch_size;
  Progress progress("pretrain", "images", total_steps_ * images_per_step, step_ * images_per_step);
  if (const auto name = loader_.cpu_only();
      name && options_.views_on_gpu && options_.device.type == DeviceType::cuda) {
    progress.note(fmt::format("views are made on the CPU: \"{}\" has no form for a GPU", *name));
  }
  if (options_.cuda_graph && networks_.objective->needs().epoch) {
    progress.note("no cuda_graph: the objective changes from epoch to epoch");
  } else if (options_.cuda_graph) {
    use_graph();
  }
  bool told_of_graph = false;
  const std::int64_t steps_per_epoch = loader_.steps_per_epoch();
  const std::int64_t resumed_at = step_, profile_begin = step_ + 3, profile_end = profile_begin + 5;
  while (step_ < total_steps_ && !stop) {
    const auto start = std::chrono::steady_clock::now();
    std::optional<ProfilerScope> profiled;
    if (trace_ && step_ >= profile_begin && step_ < profile_end) profiled.emplace(profiler_);
    const bool diagnose = !experiment_.diagnostics.of.empty() &&
                          (step_ == 0 || (step_ + 1) % experiment_.diagnostics.every_steps == 0);
    if (diagnose) finish_steps(0, progress);  // the lines of the log are in the order of the steps
    started_.push_back(start_step(diagnose && !fixed_));
    profiled.reset();
    if (trace_ && step_ + 1 == profile_end) report_profile(progress);
    ++step_;
    const bool epoch_ends = step_ % steps_per_epoch == 0;
    const bool saves = !epoch_ends && experiment_.checkpoints.every_steps > 0 &&
                       step_ % experiment_.checkpoints.every_steps == 0;
    const bool waits = epoch_ends || saves || options_.device == kCpu;
    if (graph_ && !told_of_graph && (graph_->is_recorded() || !graph_->refusal().empty())) {
      progress.note(graph_->is_recorded() ? "cuda_graph: steps are replayed from here on"
                                          : "no cuda_graph: " + graph_->refusal());
      told_of_graph = true;
    }
    const std::size_t ahead = waits ? 0 : kStepsAhead;
    if (started_.size() > ahead) started_[started_.size() - 1 - ahead].numbers.get();
    train_seconds_ += seconds_since(start);
    finish_steps(ahead, progress);
    if (diagnose && fixed_) {
      finish_steps(0, progress);
      log_fixed_diagnostics();
    }
    if (epoch_ends) end_epoch(progress);
    if (saves) save({});
  }
  finish_steps(0, progress);
  if (trace_ && step_ < profile_end) {
    progress.note(fmt::format("no profile: it needs {} steps, there were {}",
                              profile_end - resumed_at, step_ - resumed_at));
  }
  if (stop) {
    if (step_ < total_steps_) save({});
    progress.note(fmt::format("stopped at step {} of {}; go on with --out {} --resume", step_,
                              total_steps_, run_.path().string()));
    return false;
  }
  graph_.reset();  // its memory serves the evaluation
  networks_.zero_grad();
  progress.finish();
  return true;
}

void Training::refresh_average(const DatasetPtr& images) {
  if (average_) refresh_batch_norm(average_->model(), images, experiment_, options_.device);
}

Training::StartedStep Training::start_step(bool diagnose) {
  const Batch batch = loader_.next();
  optimizer_->set_lr(schedule_->lr(step_));
  ssl::ObjectiveOutput output;
  if (graph_ && !diagnose) {
    output = replayed_loss_and_gradients(batch);
  } else {
    optimizer_->zero_grad();
    output = loss_and_gradients(batch.views, batch.labels, diagnose);
  }
  if (options_.clip_grad_norm > 0) {
    nn::clip_grad_norm_(networks_.parameters(), options_.clip_grad_norm);
  }
  optimizer_->step();
  if (networks_.target) {
    const double progress = static_cast<double>(step_) / static_cast<double>(total_steps_);
    nn::ema_update_(*networks_.target, networks_.online,
                    networks_.objective->target_decay(progress));
  }
  if (average_) average_->update(networks_.online.encoder);
  std::vector<std::string> names;
  Tensors numbers{reshape(to(output.loss, DType::f64), {1})};
  for (const auto& [name, value] : output.terms) {
    names.push_back(name);
    numbers.push_back(reshape(to(value, DType::f64), {1}));
  }
  return {step_ + 1, optimizer_->lr(), std::move(names), PendingCopy(cat(numbers))};
}

ssl::ObjectiveOutput Training::loss_and_gradients(const Tensors& views, const Tensor& labels,
                                                  bool diagnose) {
  const double steps_per_epoch = static_cast<double>(loader_.steps_per_epoch());
  const auto embed = [&](Branch& branch) {
    const Autocast precision(options_.precision);
    return branch.embed(views, options_.joint_views);
  };
  const Branch::Output online = embed(networks_.online);
  if (diagnose) log_diagnostics(online);
  ssl::EmbeddedBatch embedded = {
      .embeddings = online.embeddings,
      .labels = labels,
      .epoch = static_cast<double>(step_) / steps_per_epoch,
      .progress = static_cast<double>(step_) / static_cast<double>(total_steps_)};
  if (networks_.target) {
    NoGrad guard;
    embedded.targets = embed(*networks_.target).embeddings;
  }
  ssl::ObjectiveOutput output = (*networks_.objective)(embedded);
  output.loss.backward();
  output.loss = output.loss.detach();
  return output;
}

void Training::use_graph() {
  graph_.emplace(networks_, [this](const Tensors& in) -> Tensors {
    const auto output = loss_and_gradients(Tensors(in.begin(), in.end() - 1), in.back(), false);
    Tensors values{output.loss};
    terms_.clear();
    for (const auto& [name, value] : output.terms) {
      terms_.push_back(name);
      values.push_back(value);
    }
    return values;
  });
}

ssl::ObjectiveOutput Training::replayed_loss_and_gradients(const Batch& batch) {
  Tensors in = batch.views;
  in.push_back(batch.labels);
  const Tensors values = (*graph_)(in);
  ssl::ObjectiveOutput output{values[0], {}};
  for (std::size_t i = 0; i < terms_.size(); ++i) {
    output.terms.emplace_back(terms_[i], values[i + 1]);
  }
  return output;
}

void Training::finish_steps(std::size_t keep, Progress& progress) {
  const std::int64_t images_per_step = options_.batch_size;
  const auto steps_per_epoch = static_cast<double>(loader_.steps_per_epoch());
  for (; started_.size() > keep; started_.pop_front()) {
    const StartedStep& step = started_.front();
    const double loss = step.numbers.get().data<const double>()[0];
    const std::int64_t trained = step.step - 1;
    check(std::isfinite(loss), "pretrain", "expected a finite loss, got {} at step {}: {}{}", loss,
          trained,
          trained == 0 ? "nothing is trained yet, so look at the objective and the data"
                       : "training diverged; try a smaller learning rate or a longer warm-up",
          checkpoints_.latest() ? ". The last checkpoint is from before" : "");
    epoch_loss_ += loss / steps_per_epoch;
    progress.update(step.step * images_per_step,
                    {{"epoch", static_cast<double>(step.step) / steps_per_epoch}, {"loss", loss}});
    if (step.step % options_.log_every == 0 || step.step == total_steps_) log_step(step);
  }
}

void Training::report_profile(Progress& progress) {
  profiler_.write_trace(*trace_);
  progress.note(fmt::format("five steps:\n{}wrote {}", profiler_.table(), trace_->string()));
  profiler_.clear();
}

void Training::log_step(const StartedStep& step) {
  const auto* const numbers = step.numbers.get().data<const double>();
  Json line = {
      {"step", step.step},
      {"epoch", static_cast<double>(step.step) / static_cast<double>(loader_.steps_per_epoch())},
      {"loss", numbers[0]},
      {"lr", step.lr},
      {"train_seconds", train_seconds_}};
  if (floor_) line["floor"] = *floor_;
  for (std::size_t i = 0; i < step.terms.size(); ++i) line[step.terms[i]] = numbers[i + 1];
  run_.log(line);
}

void Training::log_diagnostics(const Branch::Output& output) {
  Json line = {{"step", step_ + 1}};
  for (const std::string& name : experiment_.diagnostics.of) {
    add_diagnostic(name, "features/" + name, output.features, line);
    add_diagnostic(name, "embeddings/" + name, output.embeddings, line);
  }
  run_.log(line);
}

void Training::log_fixed_diagnostics() {
  Branch& branch = networks_.online;
  const nn::ModeScope evaluating(branch, /*train=*/false);
  NoGrad guard;
  const auto features = [&](const Tensor& x) { return branch.encoder(x); };
  const auto embeddings = [&](const Tensor& x) { return branch.expander(branch.encoder(x)); };
  Json line = {{"step", step_}};
  add_fixed_diagnostics(features, *fixed_, experiment_.diagnostics, "test/features/", line);
  add_fixed_diagnostics(embeddings, *fixed_, experiment_.diagnostics, "test/embeddings/", line);
  run_.log(line);
}

void Training::end_epoch(Progress& progress) {
  const std::int64_t epoch = step_ / loader_.steps_per_epoch();
  run_.log({{"step", step_}, {"epoch", epoch}, {"epoch_loss", epoch_loss_}});
  progress.note(fmt::format("epoch {}: mean loss {:.4f}", epoch, epoch_loss_));
  // The best checkpoint is the one with the smallest loss: labels have no say in it. There is none
  // where the formula changes with the epoch.
  std::optional<double> score;
  if (!networks_.objective->needs().epoch) score = -epoch_loss_;
  epoch_loss_ = 0;
  save(score);
}

void Training::save(std::optional<double> score) {
  Metadata metadata = {
      {"config", run_.config().dump()},
      {kOwn,
       Json{{"epoch_loss", epoch_loss_}, {"train_seconds", train_seconds_}, {"images", images_}}
           .dump()}};
  if (options_.benchmark) metadata[kPlans] = Json(cuda::plan_choices()).dump();
  run_.sync_metrics();
  checkpoints_.save(parts(), {.step = step_,
                              .epoch = step_ / loader_.steps_per_epoch(),
                              .score = score,
                              .metadata = std::move(metadata)});
}

nn::CheckpointParts Training::parts() {
  return {.model = &networks_,
          .optimizer = optimizer_.get(),
          .ema = average_ ? &average_->model() : nullptr};
}

}  // namespace invar::app
