#include "experiment.hpp"

#include <algorithm>
#include <invar/core/allocator.hpp>
#include <invar/core/progress.hpp>
#include <invar/core/random.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <iterator>
#include <type_traits>
#include <utility>

#include "scoring.hpp"
#include "tuning.hpp"

namespace invar::app {
namespace {

void check_name(const std::string& what, const std::string& name,
                const std::vector<std::string>& known) {
  check(std::find(known.begin(), known.end(), name) != known.end(), what, "unknown name \"{}\": {}",
        name, suggestion(name, known));
}

/// Some of the images of a data set.
class Part : public Dataset {
 public:
  Part(DatasetPtr all, std::vector<std::int64_t> indices)
      : all_(std::move(all)), indices_(std::move(indices)) {
    std::ranges::sort(indices_);
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  void read(std::int64_t i, Sample& into) const override {
    all_->read(indices_[static_cast<std::size_t>(i)], into);
  }
  const std::vector<std::string>& classes() const override { return all_->classes(); }
  ImageShape shape() const override { return all_->shape(); }

 private:
  DatasetPtr all_;
  std::vector<std::int64_t> indices_;
};

/// Views have random numbers for so many (ViewKey).
constexpr std::int64_t kMostEpochs = 1 << 24;

TrainingOptions read_training(const Json& json) {
  JsonReader reader(json, "training");
  TrainingOptions o;
  o.batch_size = reader.get("batch_size", o.batch_size);
  o.epochs = reader.get("epochs", o.epochs);
  o.joint_views = reader.get("joint_views", o.joint_views);
  o.ema_decay = reader.get("ema_decay", o.ema_decay);
  const auto algorithm = reader.get<std::string>("conv_algorithm", "auto");
  check_name("training", algorithm, {"auto", "direct", "winograd"});
  o.conv_algorithm = algorithm == "auto"     ? ConvAlgorithm::automatic
                     : algorithm == "direct" ? ConvAlgorithm::direct
                                             : ConvAlgorithm::winograd;
  o.conv_choices = read_conv_choices(reader.get("conv_choices", Json::array()));
  const auto precision = reader.get<std::string>("precision", "f32");
  check_name("training", precision, {"f32", "bf16"});
  o.precision = precision == "bf16" ? DType::bf16 : DType::f32;
  o.device = parse_device(reader.get<std::string>("device", "cpu"));
  o.cuda_graph = reader.get("cuda_graph", o.cuda_graph);
  o.views_on_gpu = reader.get("views_on_gpu", o.views_on_gpu);
  o.allow_tf32 = reader.get("allow_tf32", o.allow_tf32);
  o.deterministic = reader.get("deterministic", o.deterministic);
  o.benchmark = reader.get("benchmark", o.benchmark);
  o.workspace_mb = reader.get("workspace_mb", o.workspace_mb);
  o.clip_grad_norm = reader.get("clip_grad_norm", o.clip_grad_norm);
  o.workers = reader.get("workers", o.workers);
  o.log_every = reader.get("log_every", o.log_every);
  reader.finish();
  check(o.batch_size >= 2, "training", "expected a batch_size of at least 2, got {}", o.batch_size);
  check(o.epochs >= 1 && o.epochs < kMostEpochs, "training", "expected 1 to {} epochs, got {}",
        kMostEpochs - 1, o.epochs);
  check(o.workspace_mb >= 0 && o.workspace_mb <= 1 << 20, "training",
        "expected a workspace_mb of 0 to 2^20, got {}", o.workspace_mb);
  check(o.ema_decay >= 0 && o.ema_decay < 1, "training", "expected ema_decay in [0, 1), got {}",
        o.ema_decay);
  check(o.clip_grad_norm >= 0, "training", "expected clip_grad_norm >= 0, got {}",
        o.clip_grad_norm);
  check(o.log_every >= 1, "training", "expected log_every of at least 1, got {}", o.log_every);
  return o;
}

CheckpointOptions read_checkpoints(const Json& json) {
  JsonReader reader(json, "checkpoints");
  CheckpointOptions o;
  o.every_steps = reader.get("every_steps", o.every_steps);
  o.keep = reader.get("keep", o.keep);
  reader.finish();
  check(o.every_steps >= 0, "checkpoints", "expected every_steps >= 0, got {}", o.every_steps);
  check(o.keep >= 1, "checkpoints", "expected to keep at least 1, got {}", o.keep);
  return o;
}

DiagnosticsOptions read_diagnostics(const Json& json) {
  JsonReader reader(json, "diagnostics");
  DiagnosticsOptions o;
  o.every_steps = reader.get("every_steps", o.every_steps);
  o.of = reader.get("of", o.of);
  o.images = reader.get("images", o.images);
  o.sigma = reader.get("sigma", o.sigma);
  reader.finish();
  check(o.every_steps >= 1, "diagnostics", "expected every_steps of at least 1, got {}",
        o.every_steps);
  check(o.images == 0 || o.images >= 2, "diagnostics", "expected 0 images or at least 2, got {}",
        o.images);
  check(o.sigma > 0, "diagnostics", "expected sigma > 0, got {}", o.sigma);
  std::vector<std::string> known = ssl::diagnostic_names(), fixed = ssl::local_diagnostic_names();
  std::ranges::copy(ssl::diagnostic_list_names(), std::back_inserter(known));
  fixed.emplace_back("bound");
  for (const std::string& name : o.of) {
    check(o.images > 0 || std::ranges::find(fixed, name) == fixed.end(), "diagnostics",
          "expected \"images\" of at least 2 for \"{}\", got 0: it looks at fixed test images",
          name);
  }
  std::ranges::copy(fixed, std::back_inserter(known));
  for (const std::string& name : o.of) check_name("diagnostics", name, known);
  return o;
}

EvaluationOptions read_evaluation(const Json& json) {
  JsonReader reader(json, "evaluation");
  EvaluationOptions o;
  o.baselines = reader.get("baselines", o.baselines);
  o.held_out = reader.get("held_out", o.held_out);
  o.knn.k = reader.get("k", o.knn.k);
  o.knn.temperature = reader.get("temperature", o.knn.temperature);
  o.linear.epochs = reader.get("linear_epochs", o.linear.epochs);
  o.linear.lr = reader.get("linear_lr", o.linear.lr);
  reader.finish();
  check(o.held_out >= 0, "evaluation", "expected held_out >= 0, got {}", o.held_out);
  check_options(o.knn, o.linear);
  return o;
}

ssl::ExpanderOptions read_expander(const Json& json) {
  JsonReader reader(json, "expander");
  ssl::ExpanderOptions o;
  o.layers = reader.get("layers", o.layers);
  o.hidden_batch_norm = reader.get("hidden_batch_norm", o.hidden_batch_norm);
  o.hidden_bias = reader.get("hidden_bias", o.hidden_bias);
  o.last_bias = reader.get("last_bias", o.last_bias);
  o.last_batch_norm = reader.get("last_batch_norm", o.last_batch_norm);
  reader.finish();
  check(!o.layers.empty(), "expander", "expected at least one layer");
  const std::int64_t least = std::ranges::min(o.layers);
  check(least >= 1, "expander", "expected layer widths of at least 1, got {}", least);
  return o;
}

EncoderOptions read_encoder(const Json& json) {
  JsonReader reader(json, "encoder");
  const auto name = reader.get<std::string>("name", "resnet18");
  check_name("encoder", name, {"resnet18", "resnet34", "resnet50"});
  EncoderOptions o{.depth = name == "resnet18" ? 18 : name == "resnet34" ? 34 : 50, .resnet = {}};
  const auto stem = reader.get<std::string>("stem", "cifar");
  check_name("encoder", stem, {"cifar", "imagenet"});
  o.resnet.stem = stem == "cifar" ? nn::Stem::cifar : nn::Stem::imagenet;
  o.resnet.activation = nn::parse_activation(reader.get<std::string>("activation", "relu"));
  o.resnet.width = reader.get("width", o.resnet.width);
  o.resnet.zero_init_residual = reader.get("zero_init_residual", o.resnet.zero_init_residual);
  o.resnet.cifar_padding = reader.get("cifar_padding", o.resnet.cifar_padding);
  o.resnet.pool_size = reader.get("pool_size", o.resnet.pool_size);
  reader.finish();
  check(o.resnet.width >= 1 && o.resnet.pool_size >= 1 && o.resnet.cifar_padding >= 0, "encoder",
        "expected width >= 1, pool_size >= 1 and cifar_padding >= 0, got {}, {} and {}",
        o.resnet.width, o.resnet.pool_size, o.resnet.cifar_padding);
  return o;
}

OptimizerOptions read_optimizer(const Json& json, std::int64_t batch_size) {
  JsonReader reader(json, "optimizer");
  OptimizerOptions o;
  const auto name = reader.get<std::string>("name", "adamw");
  check_name("optimizer", name, {"sgd", "lars", "lars_clipped", "adam", "adamw"});
  // "lr_per_256": the rate for a batch of 256, scaled linearly to the batch.
  check(reader.has("lr") != reader.has("lr_per_256"), "optimizer",
        "expected exactly one of \"lr\" and \"lr_per_256\"");
  o.lr = reader.has("lr") ? reader.get("lr", 0.0)
                          : reader.get("lr_per_256", 0.0) * static_cast<double>(batch_size) / 256;
  check(o.lr > 0, "optimizer", "expected a learning rate > 0, got {}", o.lr);
  o.exclude_1d = reader.get("exclude_1d", name.starts_with("lars"));
  if (name == "sgd") {
    nn::SGDOptions sgd{.lr = o.lr};
    sgd.momentum = reader.get("momentum", sgd.momentum);
    sgd.nesterov = reader.get("nesterov", sgd.nesterov);
    sgd.weight_decay = reader.get("weight_decay", sgd.weight_decay);
    o.options = sgd;
  } else if (name.starts_with("lars")) {
    nn::LARSOptions lars{.lr = o.lr};
    lars.variant = name == "lars" ? LarsVariant::official : LarsVariant::clipped;
    lars.momentum = reader.get("momentum", lars.momentum);
    lars.weight_decay = reader.get("weight_decay", lars.weight_decay);
    lars.eta = reader.get("eta", lars.eta);
    lars.exclude_1d = std::exchange(o.exclude_1d, false);  // from adaptation as well
    o.options = lars;
  } else {
    const auto read = [&](auto adam) {
      adam.weight_decay = reader.get("weight_decay", adam.weight_decay);
      adam.betas = reader.get("betas", adam.betas);
      o.options = adam;
    };
    name == "adam" ? read(nn::AdamOptions{.lr = o.lr}) : read(nn::AdamWOptions{.lr = o.lr});
  }
  reader.finish();
  return o;
}

ScheduleOptions read_schedule(const Json& json, double lr, std::int64_t epochs) {
  JsonReader reader(json, "schedule");
  ScheduleOptions options;
  const auto name = reader.get<std::string>("name", "warmup_cosine");
  check_name("schedule", name, {"warmup_cosine", "constant"});
  nn::WarmupCosineOptions& o = options.cosine;
  o.base_lr = lr;
  options.constant = name == "constant";
  if (options.constant) {
    reader.finish();
    return options;
  }
  check(!(reader.has("warmup_steps") && reader.has("warmup_epochs")), "schedule",
        "expected at most one of \"warmup_steps\" and \"warmup_epochs\"");
  o.warmup_steps = reader.get<std::int64_t>("warmup_steps", 0);
  check(o.warmup_steps >= 0, "schedule", "expected warmup_steps >= 0, got {}", o.warmup_steps);
  options.warmup_epochs = reader.get("warmup_epochs", options.warmup_epochs);
  check(
      options.warmup_epochs >= 0 && options.warmup_epochs < epochs, "schedule",
      "expected a warm-up shorter than the training of {} epochs, got {}: train longer or shorten "
      "the warm-up",
      epochs, options.warmup_epochs);
  o.start_lr = reader.get("start_lr", o.start_lr);
  o.end_lr = reader.get("end_lr", o.end_lr);
  check(o.start_lr >= 0 && o.end_lr >= 0, "schedule",
        "expected start_lr and end_lr of at least 0, got {} and {}", o.start_lr, o.end_lr);
  o.warmup_reaches_base = reader.get("warmup_reaches_base", o.warmup_reaches_base);
  reader.finish();
  return options;
}

}  // namespace

void check_device(Device device) {
  allocator(device);  // says what is lacking
}

Device usable_device(const std::string& name) {
  const Device device = parse_device(name);
  check_device(device);
  return device;
}

Experiment::Experiment(const Json& config) {
  JsonReader reader(config, "config");
  seed = reader.get<std::uint64_t>("seed", 0);
  data_ = reader.require<Json>("data");
  views = make_views(reader.require<Json>("views"));
  check(views.size() >= 2, "config", "expected at least 2 views, got {}", views.size());
  test_view = make_pipeline(reader.require<Json>("test_view"));
  check(test_view.param_count() == 0, "test_view",
        "expected transforms without random numbers, got one that draws \"{}\"",
        test_view.param_count() > 0 ? test_view.param_names().front() : "");
  objective_ = reader.require<Json>("objective");
  training = read_training(reader.get("training", Json::object()));
  checkpoints = read_checkpoints(reader.get("checkpoints", Json::object()));
  diagnostics = read_diagnostics(reader.get("diagnostics", Json::object()));
  evaluation = read_evaluation(reader.get("evaluation", Json::object()));
  encoder_ = read_encoder(reader.get("encoder", Json::object()));
  expander_ = read_expander(reader.get("expander", Json::object()));
  optimizer_ = read_optimizer(reader.require<Json>("optimizer"), training.batch_size);
  schedule_ = read_schedule(reader.get("schedule", Json::object()), optimizer_.lr, training.epochs);
  reader.finish();
}

DatasetPtr Experiment::load(Split split) const {
  const std::string label = split == Split::train ? "train images" : "test images";
  std::unique_ptr<Progress> progress;
  const std::int64_t held_out = evaluation.held_out;
  const Split source = held_out > 0 ? Split::train : split;
  DatasetPtr images = make_dataset(data_, source, [&](std::int64_t done, std::int64_t n) {
    if (!progress) progress = std::make_unique<Progress>(label, "images", n);
    progress->update(done);
  });
  if (progress) progress->finish();
  if (held_out == 0) return images;
  check(held_out < images->size(), "evaluation",
        "expected held_out below {} training images, got {}", images->size(), held_out);
  const std::vector<std::int64_t> order =
      random_permutation(0, 0, static_cast<std::uint64_t>(images->size()));
  return std::make_shared<Part>(images, split == Split::test
                                            ? std::vector(order.begin(), order.begin() + held_out)
                                            : std::vector(order.begin() + held_out, order.end()));
}

nn::ResNet Experiment::make_encoder(int channels) const {
  nn::ResNetOptions options = encoder_.resnet;
  options.in_channels = channels;
  return nn::ResNet(encoder_.depth, options);
}

nn::Sequential Experiment::make_expander(std::int64_t features) const {
  return ssl::make_expander(features, expander_);
}

std::unique_ptr<ssl::Objective> Experiment::make_objective() const {
  return ssl::make_objective(objective_, embedding_dim());
}

namespace {

/// `exclude_1d`: parameters of one dimension are a group without weight decay.
template <class Optimizer, class Options>
std::unique_ptr<nn::Optimizer> optimizer_of(const nn::Module& model, const Options& options,
                                            bool exclude_1d) {
  std::vector<nn::NamedTensor> decaying, others;
  for (nn::NamedTensor& parameter : model.named_parameters()) {
    const bool excluded = exclude_1d && parameter.tensor.dim() == 1;
    (excluded ? others : decaying).push_back(std::move(parameter));
  }
  std::vector<typename Optimizer::Group> groups{{std::move(decaying), options}};
  if (!others.empty()) {
    groups.push_back({std::move(others), options});
    groups.back().options.weight_decay = 0;
  }
  return std::make_unique<Optimizer>(groups);
}

}  // namespace

std::unique_ptr<nn::Optimizer> Experiment::make_optimizer(const nn::Module& model) const {
  const bool exclude_1d = optimizer_.exclude_1d;
  const auto make = [&]<class Options>(const Options& o) -> std::unique_ptr<nn::Optimizer> {
    if constexpr (std::is_same_v<Options, nn::SGDOptions>) {
      return optimizer_of<nn::SGD>(model, o, exclude_1d);
    } else if constexpr (std::is_same_v<Options, nn::LARSOptions>) {
      return optimizer_of<nn::LARS>(model, o, exclude_1d);
    } else {
      return optimizer_of<nn::AdamOf<Options>>(model, o, exclude_1d);
    }
  };
  return std::visit(make, optimizer_.options);
}

std::unique_ptr<nn::Schedule> Experiment::make_schedule(std::int64_t steps_per_epoch) const {
  nn::WarmupCosineOptions o = schedule_.cosine;
  if (schedule_.constant) return std::make_unique<nn::ConstantSchedule>(o.base_lr);
  o.total_steps = training.epochs * steps_per_epoch;
  if (schedule_.warmup_epochs > 0) o.warmup_steps = schedule_.warmup_epochs * steps_per_epoch;
  return std::make_unique<nn::WarmupCosine>(o);
}

}  // namespace invar::app
