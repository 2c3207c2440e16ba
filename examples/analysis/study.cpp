#include "study.hpp"

#include <glob.h>

#include <algorithm>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/file.hpp>
#include <invar/core/random.hpp>
#include <invar/data/loader.hpp>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/view.hpp>
#include <set>

#include "../common/encoder_file.hpp"
#include "../common/process.hpp"
#include "../common/run_directory.hpp"
#include "../common/scoring.hpp"
#include "../common/training.hpp"

namespace invar::app {
namespace fs = std::filesystem;
namespace {

/// f with its argument taken to the device and its value back.
template <class F>
Network computed_on(Device device, F f) {
  return [=](const Tensor& x) { return to(f(to(x, device)), kCpu); };
}

void freeze(nn::Module& network, Device device) {
  network.eval();
  network.requires_grad_(false);
  network.to(device);
}

Network network_of(std::shared_ptr<nn::ResNet> encoder, Device device) {
  freeze(*encoder, device);
  return computed_on(device, [encoder](const Tensor& x) { return (*encoder)(x); });
}

NetworkPair pair_of(const std::shared_ptr<Branch>& branch, Device device) {
  freeze(*branch, device);
  return {computed_on(device, [branch](const Tensor& x) { return branch->encoder(x); }),
          computed_on(device, [branch](const Tensor& h) { return branch->expander(h); })};
}

/// Images to embeddings.
Network composed(const NetworkPair& networks) {
  return [networks](const Tensor& x) { return networks.expander(networks.encoder(x)); };
}

bool has_expander(const fs::path& file) {
  const StateDict state = nn::read_model(file);
  return std::ranges::any_of(state, [](const auto& entry) {
    return std::string_view(entry.first).starts_with("expander.");
  });
}

Subject load_subject(const std::string& group, const fs::path& path, Device device) {
  if (path.extension() == ".json") {
    Subject subject = read_measured(path);
    if (!group.empty()) subject.group = group;
    return subject;
  }
  Subject subject{
      .group = group, .name = path.string(), .config = {}, .encoder = {}, .expander = {}};
  fs::path file = path;
  if (fs::is_directory(path)) {
    check(fs::exists(path / "config.json"), "analyze",
          "expected a run directory, an encoder or a checkpoint, got '{}' without a config.json",
          path.string());
    const auto steps = nn::CheckpointFolder(path / "checkpoints").steps();
    subject.checkpoints.assign(steps.begin(), steps.end());
    subject.saved = static_cast<std::int64_t>(subject.checkpoints.size());
    file = path / "encoder.safetensors";
    if (!fs::exists(file)) {
      check(!subject.checkpoints.empty(), "analyze",
            "expected an encoder or a checkpoint in '{}', got none: has the run begun?",
            path.string());
      file = subject.checkpoints.back().second;
      subject.ended = false;
      tell("analyze: the run '{}' has not ended: its newest checkpoint is used", path.string());
    }
    if (!subject.checkpoints.empty()) {
      subject.expander = composed(load_pair(subject.checkpoints.back().second, device));
    }
  } else {
    check(fs::exists(file), "analyze", "expected a file or a run directory, got no '{}'",
          path.string());
    if (has_expander(file)) subject.expander = composed(load_pair(file, device));
  }
  const auto trained = std::make_shared<TrainedEncoder>(load_encoder(file, ""));
  subject.config = trained->config;
  subject.has_expander = static_cast<bool>(subject.expander);
  subject.encoder = network_of({trained, &trained->encoder}, device);
  if (trained->averaged) subject.average = trained;
  if (group.empty()) subject.group = subject.config.at("objective").at("name").get<std::string>();
  return subject;
}

/// The paths that a pattern of the shell's matches, in order; without *, ? or [ itself.
std::vector<std::string> matches(const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return {pattern};
  glob_t found = {};
  ::glob(pattern.c_str(), 0, nullptr, &found);
  const std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  check(!paths.empty(), "--group", "expected a run, an encoder or a checkpoint, got none like '{}'",
        pattern);
  return paths;
}

/// "name=path,path" or "path,path"; returns the name.
std::string load_group(const std::string& text, Device device, std::vector<Subject>& subjects) {
  const std::size_t equals = text.find('=');
  const std::string group = equals == std::string::npos ? "" : text.substr(0, equals);
  check(equals != 0, "--group", "expected NAME=PATH,PATH, got \"{}\"", text);
  std::string paths = equals == std::string::npos ? text : text.substr(equals + 1);
  check(!paths.empty() && paths.find(",,") == std::string::npos && paths.back() != ',', "--group",
        "expected NAME=PATH,PATH, got \"{}\"", text);
  for (std::size_t at = 0; at < paths.size();) {
    const std::size_t comma = std::min(paths.find(',', at), paths.size());
    for (const std::string& path : matches(paths.substr(at, comma - at))) {
      subjects.push_back(load_subject(group, path, device));
    }
    at = comma + 1;
  }
  return group;
}

/// Throws Error unless the members of each group are training seeds: intervals and tests count each
/// as an independent one.
void check_groups(const std::vector<Subject>& subjects, const std::set<std::string>& named) {
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    const Subject& a = subjects[i];
    for (std::size_t k = i + 1; k < subjects.size(); ++k) {
      const Subject& b = subjects[k];
      if (!a.trained || !b.trained || a.group != b.group) continue;
      check(a.config != b.config, "--group",
            "expected networks of different training seeds in '{}', got '{}' and '{}' of one "
            "configuration and seed",
            a.group, a.name, b.name);
      if (named.contains(a.group))
        continue;  // what its members have in common is the user's matter
      Json ours = a.config, theirs = b.config;
      for (Json* config : {&ours, &theirs}) {
        for (const char* other : {"seed", "checkpoints", "diagnostics", "evaluation"}) {
          config->erase(other);
        }
      }
      check(ours == theirs, "--group",
            "expected networks that differ in their seed alone in '{}', got '{}' and '{}' of "
            "different configurations: name what is to be compared, --group NAME=PATH,PATH",
            a.group, a.name, b.name);
    }
  }
}

}  // namespace

Subject read_measured(const fs::path& file) {
  const Json json = read_json(file);
  check(json.is_object() && json.contains("study") && json.contains("network"), "analyze",
        "expected what an analysis has kept of a network (networks/*.json), got '{}'",
        file.string());
  JsonReader reader(json, file.string());
  JsonReader network(reader.require<Json>("network"), file.string());
  Subject subject{.group = network.require<std::string>("group"),
                  .name = network.require<std::string>("name"),
                  .config = reader.require<Json>("config"),
                  .encoder = {},
                  .expander = {},
                  .trained = network.require<bool>("trained"),
                  .ended = network.require<bool>("ended"),
                  .has_expander = network.require<bool>("expander"),
                  .saved = network.require<std::int64_t>("checkpoints"),
                  .measured = reader.require<Json>("measured"),
                  .measured_in = reader.require<Json>("study")};
  network.finish();
  reader.finish();
  check(subject.measured.is_object() && subject.config.is_object() == subject.trained, "analyze",
        "expected what an analysis has kept of a network, got '{}'", file.string());
  return subject;
}

void write_measured(const Subject& subject, const fs::path& file) {
  const Json json = {{"network",
                      {{"group", subject.group},
                       {"name", subject.name},
                       {"trained", subject.trained},
                       {"ended", subject.ended},
                       {"expander", subject.has_expander},
                       {"checkpoints", subject.saved}}},
                     {"config", subject.config},
                     {"study", subject.measured_in},
                     {"measured", subject.measured}};
  write_file_atomically(file, json.dump() + "\n");
}

NetworkPair load_pair(const fs::path& checkpoint, Device device) {
  const Experiment experiment(config_of(SafetensorsFile(checkpoint)));
  const StateDict state = nn::read_model(checkpoint);
  const StateDict encoder = nn::select(state, "encoder.");
  const auto branch = std::make_shared<Branch>(experiment, channels_of(encoder, checkpoint));
  branch->encoder.load_state_dict(encoder);
  branch->expander.load_state_dict(nn::select(state, "expander."));
  return pair_of(branch, device);
}

Study::Study(const StudyOptions& options) : seed(options.seed), device(options.device) {
  check(!options.groups.empty(), "analyze", "expected at least one run, encoder or checkpoint");
  std::set<std::string> named;
  for (const std::string& group : options.groups) {
    const std::string name = load_group(group, device, subjects);
    if (!name.empty()) named.insert(name);
  }
  const auto first = std::ranges::find(subjects, true, &Subject::trained);
  check(first != subjects.end(), "analyze", "expected a trained network, got controls only");
  Json config = first->config;
  replace_data(config, options.data);
  data = config["data"];
  test_view = config["test_view"];
  views = config["views"];
  for (const Subject& subject : subjects) {
    check(!subject.trained || subject.config.at("test_view") == config["test_view"], "analyze",
          "expected networks with one test view, got another one in '{}'", subject.name);
  }
  check_groups(subjects, named);
  // One group's members stand together, whatever the order of the paths, and controls at the end.
  std::vector<std::string> order;
  for (const Subject& subject : subjects) {
    if (std::ranges::find(order, subject.group) == order.end()) order.push_back(subject.group);
  }
  std::ranges::stable_sort(subjects, {}, [&](const Subject& subject) {
    return std::pair(!subject.trained, std::ranges::find(order, subject.group) - order.begin());
  });
  experiment.emplace(config);
  train = experiment->load(Split::train);
  test = experiment->load(Split::test);
  check_classes(*train, *test);
  for (const Subject& subject : subjects) {
    if (!subject.average) continue;
    refresh_if_averaged("analyze", *subject.average, train, Experiment(subject.config), device);
  }
  add_controls(options);
}

void Study::add_controls(const StudyOptions& options) {
  const auto name_of = [](const std::string& group, std::int64_t i) {
    return fmt::format("{} {}", group, i);
  };
  const auto control = [&](const std::string& group, std::int64_t i, Network network,
                           Network expander = {}) {
    subjects.push_back({.group = group,
                        .name = name_of(group, i),
                        .config = {},
                        .encoder = std::move(network),
                        .expander = std::move(expander),
                        .trained = false,
                        .rectifiers = group != "linear"});
    subjects.back().has_expander = static_cast<bool>(subjects.back().expander);
  };
  for (const std::string& name : options.controls) {
    check(name == "untrained" || name == "linear", "--controls", "unknown name \"{}\": {}", name,
          suggestion(name, {"untrained", "linear"}));
    const Tensor pixels = images(Split::test, 1).pixels;
    std::int64_t width = 0;  // of an encoder's output, once it is needed
    for (std::int64_t i = 0; i < options.control_seeds; ++i) {
      const auto number = static_cast<std::uint64_t>(i);
      // One that was measured before is not made again.
      if (std::ranges::find(subjects, name_of(name, i), &Subject::name) != subjects.end()) continue;
      if (name == "linear") {
        const std::int64_t inputs = pixels.numel();
        if (width == 0) width = untrained(0).encoder(pixels).size(1);
        Generator generator(seed_for(seed, Purpose::linear_control, number));
        const Tensor weight =
            randn({inputs, width}, {}, generator) / std::sqrt(static_cast<double>(inputs));
        control("linear", i, [weight](const Tensor& x) { return matmul(flatten(x, 1), weight); });
        continue;
      }
      const NetworkPair networks = untrained(number);
      control("untrained", i, networks.encoder, composed(networks));
    }
  }
}

Tensors Study::load_views(Split split, std::int64_t n, const std::vector<Pipeline>& views,
                          Tensor* labels) const {
  const DatasetPtr& all = split == Split::train ? train : test;
  check(n >= 1 && n <= all->size(), "analyze", "expected 1 to {} {} images, got {}", all->size(),
        split == Split::train ? "training" : "test", n);
  Loader loader(all, views,
                {.batch_size = n,
                 .seed = seed_for(seed, Purpose::views, split == Split::train),
                 .epochs = 1});
  Batch batch = loader.next();
  if (labels) *labels = batch.labels;
  return batch.views;
}

Study::Images Study::images(Split split, std::int64_t n) const {
  Images result;
  result.pixels = load_views(split, n, {experiment->test_view}, &result.labels)[0];
  return result;
}

Tensor Study::raw_images(Split split, std::int64_t n) const {
  return load_views(split, n, {make_pipeline(Json::array())})[0];
}

Tensors Study::training_views(Split split, std::int64_t n) const {
  return load_views(split, n, {experiment->views[0], experiment->views[1]});
}

std::vector<std::string> Study::trained_groups() const {
  std::vector<std::string> names;
  for (const Subject& subject : subjects) {
    if (subject.trained && (names.empty() || names.back() != subject.group)) {
      names.push_back(subject.group);
    }
  }
  return names;
}

std::set<std::string> Study::supervised_groups() const {
  const std::vector<std::string> known = ssl::objective_names();
  std::set<std::string> names;
  for (const Subject& subject : subjects) {
    if (!subject.trained) continue;
    const Json& objective = subject.config.at("objective");
    // A program of one's own may have trained with an objective of its own.
    const auto name = objective.at("name").get<std::string>();
    if (std::ranges::find(known, name) == known.end()) continue;
    if (ssl::make_objective(objective, 2)->needs().labels) names.insert(subject.group);
  }
  return names;
}

NetworkPair Study::untrained(std::uint64_t i) const {
  const Tensor pixels = images(Split::test, std::min<std::int64_t>(500, test->size())).pixels;
  manual_seed(seed_for(seed, Purpose::untrained, i));
  const auto branch = std::make_shared<Branch>(*experiment, static_cast<int>(pixels.size(3)));
  const auto once = [](const Tensor& batch) {
    return
        [batch, given = false]() mutable { return std::exchange(given, true) ? Tensor() : batch; };
  };
  nn::update_bn(branch->encoder, once(pixels));
  branch->eval();
  nn::update_bn(branch->expander, once(apply_in_chunks(pair_of(branch, kCpu).encoder, pixels)));
  return pair_of(branch, device);
}

std::int64_t Study::classes() const {
  check(!train->classes().empty(), "analyze", "expected labelled data, got none");
  return static_cast<std::int64_t>(train->classes().size());
}

Tensor apply_in_chunks(const Network& f, const Tensor& images) {
  NoGrad guard;
  return in_chunks(f, images, 64);  // the activations stay in the processor's caches
}

Tensor targets_of(const Tensor& labels, std::int64_t classes) {
  return to(one_hot(labels, classes), DType::f64);
}

std::uint64_t seed_for(std::uint64_t seed, Purpose purpose, std::uint64_t index) {
  return wide_word(random_block(seed, index, static_cast<std::uint64_t>(purpose)), 0);
}

}  // namespace invar::app
