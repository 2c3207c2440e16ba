// Checkpoints: a resumed run goes on bit by bit, Python can read the file, bad files are refused
// without changing anything, and a folder keeps the right ones.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/modules.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <limits>

#include "nn_testing.hpp"

using namespace invar;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

nn::Sequential make_model() {
  return nn::Sequential(nn::Conv2d(1, 3, 3, {.padding = 1}), nn::BatchNorm2d(3), nn::ReLU(),
                        nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Dropout(0.2),
                        nn::Linear(3, 2));
}

/// A little training run: data, dropout and everything else random come from the generator.
struct Run {
  nn::Sequential model = make_model();
  nn::Ema<nn::Sequential> average{model, 0.9};
  std::unique_ptr<nn::Optimizer> optimizer;
  nn::WarmupCosine schedule{{.base_lr = 0.1, .total_steps = 8, .warmup_steps = 2}};

  explicit Run(const std::string& kind = "AdamW") {
    if (kind == "AdamW") optimizer = std::make_unique<nn::AdamW>(model, nn::AdamWOptions{});
    if (kind == "SGD")
      optimizer = std::make_unique<nn::SGD>(model, nn::SGDOptions{.momentum = 0.9});
    if (kind == "LARS") optimizer = std::make_unique<nn::LARS>(model, nn::LARSOptions{});
  }
  nn::CheckpointParts parts() {
    return {.model = &model, .optimizer = optimizer.get(), .ema = &average.model()};
  }
  void train(std::int64_t from, std::int64_t to) {
    for (std::int64_t step = from; step < to; ++step) {
      optimizer->set_lr(schedule.lr(step));
      optimizer->zero_grad();
      sum(square(model(randn({4, 5, 5, 1})) - 1)).backward();
      optimizer->step();
      average.update(model);
    }
  }
};

/// Every number of a run.
std::map<std::string, std::vector<double>> all_values(Run& run) {
  std::map<std::string, std::vector<double>> all;
  for (const auto& [name, t] : run.model.state_dict()) all[name] = values_of(t);
  for (const auto& [name, t] : run.average.model().state_dict()) all["ema/" + name] = values_of(t);
  const nn::OptimizerState state = run.optimizer->state_dict();
  for (const auto& [name, t] : state.tensors) all["optimizer/" + name] = values_of(t);
  for (const auto& [name, value] : state.numbers) all["numbers/" + name] = {value};
  return all;
}

}  // namespace

TEST_CASE("A resumed run gives the bits of one never stopped", "[smoke]") {
  for (const std::string kind : {"AdamW", "SGD", "LARS"}) {
    CAPTURE(kind);
    const Folder folder;
    const fs::path path = folder / "last.safetensors";
    manual_seed(3);
    Run straight(kind);
    straight.train(0, 4);
    nn::save_checkpoint(path, straight.parts(),
                        {.step = 4, .epoch = 1, .metadata = {{"config", "{}"}}});
    straight.train(4, 7);
    const GeneratorState generator = default_generator().state();

    manual_seed(99);
    Run resumed(kind);
    const nn::TrainingState at = nn::load_checkpoint(path, resumed.parts());
    CHECK(at.step == 4);
    CHECK(at.epoch == 1);
    CHECK_FALSE(at.score.has_value());
    CHECK(at.metadata == Metadata{{"config", "{}"}});
    resumed.train(at.step, 7);
    CHECK(all_values(resumed) == all_values(straight));
    CHECK(default_generator().state() == generator);
  }
}

TEST_CASE("A checkpoint is a file that Python reads") {
  const Folder folder;
  const fs::path path = folder / "last.safetensors";
  Run run;
  run.train(0, 1);
  nn::save_checkpoint(path, run.parts(), {.step = 1, .score = 0.5});
  const SafetensorsFile file(path);
  CHECK(file.read("0.weight").shape() == Dims{3, 1, 3, 3});
  CHECK(file.read("ema/0.weight").shape() == Dims{3, 1, 3, 3});
  CHECK(file.read("optimizer/exp_avg/0.weight").shape() == Dims{3, 1, 3, 3});
  CHECK(file.read("1.num_batches_tracked").item() == 1);

  CHECK(nn::read_training_state(path).score == 0.5);
  nn::Sequential model = make_model();
  model.load_state_dict(nn::read_model(path));
  CHECK(values_of(model.state_dict().at("0.weight")) == values_of(file.read("0.weight")));
  model.load_state_dict(nn::read_model(path, /*ema=*/true));
  CHECK(values_of(model.state_dict().at("0.weight")) == values_of(file.read("ema/0.weight")));

  // The model alone; the generator is left alone on request.
  nn::Sequential alone = make_model();
  const GeneratorState before = default_generator().state();
  nn::load_checkpoint(path, {.model = &alone, .generator = nullptr});
  CHECK(default_generator().state() == before);
}

TEST_CASE("What cannot be restored changes nothing") {
  const Folder folder;
  const fs::path path = folder / "last.safetensors";
  Run run;
  run.train(0, 2);
  nn::save_checkpoint(path, run.parts(), {.step = 2});

  Run other("SGD");
  other.train(0, 1);
  const auto before = all_values(other);
  const GeneratorState generator = default_generator().state();
  const auto refused = [&](const fs::path& file, const std::string& message) {
    CHECK_THAT(message_of([&] { nn::load_checkpoint(file, other.parts()); }),
               ContainsSubstring(message));
    CHECK(all_values(other) == before);
    CHECK(default_generator().state() == generator);
  };
  refused(path, "last.safetensors' to fit");
  refused(path, "expected the state of SGD, got that of AdamW");
  refused(folder / "none.safetensors", "No such file");

  write_safetensors(folder / "weights.safetensors", run.model.state_dict());
  refused(folder / "weights.safetensors", "expected a checkpoint");
  for (const char* json :
       {"", "{", "[]", "{}", R"({"version": 2, "step": 0, "epoch": 0})",
        R"({"version": 1, "step": 1.5, "epoch": 0})",
        R"({"version": 1, "step": 0, "epoch": 0, "generator": 3})",
        R"({"version": 1, "step": 0, "epoch": 0, "generator": {"seed": "a"}})"}) {
    CAPTURE(json);
    write_safetensors(folder / "bad.safetensors", run.model.state_dict(),
                      {{"invar.checkpoint", json}});
    CHECK_THROWS_AS(nn::load_checkpoint(folder / "bad.safetensors", other.parts()), Error);
  }
  nn::save_checkpoint(folder / "model.safetensors", {.model = &run.model}, {});
  refused(folder / "model.safetensors", "expected the state of an optimiser");
  nn::save_checkpoint(folder / "model.safetensors",
                      {.model = &run.model, .optimizer = other.optimizer.get()}, {});
  refused(folder / "model.safetensors", "missing: 0.weight");  // no average

  const std::string whole = read_file(path);
  write_file_atomically(folder / "cut.safetensors", whole.substr(0, whole.size() / 2));
  CHECK_THROWS_AS(nn::load_checkpoint(folder / "cut.safetensors", other.parts()), Error);
  CHECK(all_values(other) == before);
  CHECK_THROWS_AS(nn::read_model(folder / "model.safetensors", true), Error);
  CHECK_THROWS_AS(nn::save_checkpoint(path, run.parts(), {.metadata = {{"invar.checkpoint", ""}}}),
                  Error);
  // What JSON cannot hold is refused when it is saved, not when it is needed.
  run.optimizer->set_lr(std::numeric_limits<double>::infinity());
  CHECK_THAT(message_of([&] { nn::save_checkpoint(path, run.parts(), {}); }),
             ContainsSubstring("expected finite numbers of the optimiser, got inf for 'lr/0'"));
  CHECK(read_file(path) == whole);
}

TEST_CASE("A folder keeps the last ones and the best") {
  const Folder folder;
  nn::Sequential model = make_model();
  nn::CheckpointFolder(folder.path() / "made/by/save").save({.model = &model}, {.step = 1});
  CHECK(fs::exists(folder.path() / "made/by/save/step-000000001.safetensors"));
  fs::remove_all(folder.path() / "made");
  const nn::CheckpointFolder checkpoints(folder.path(), 2);
  CHECK_FALSE(checkpoints.latest().has_value());
  CHECK_FALSE(checkpoints.best().has_value());
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  };
  using Names = std::vector<std::string>;

  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double scores[] = {kInfinity, 30, 20, std::nan(""), kInfinity};
  for (int i = 0; i < 5; ++i) {
    checkpoints.save({.model = &model}, {.step = 100 * (i + 1), .score = scores[i]});
  }
  CHECK(names() ==
        Names{"best.safetensors", "step-000000400.safetensors", "step-000000500.safetensors"});
  CHECK(checkpoints.latest() == folder / "step-000000500.safetensors");
  CHECK(nn::read_training_state(*checkpoints.best()).step == 200);

  // Back to an earlier step: its checkpoints are kept although later ones exist.
  checkpoints.save({.model = &model}, {.step = 450});
  CHECK(names() == Names{"best.safetensors", "step-000000400.safetensors",
                         "step-000000450.safetensors", "step-000000500.safetensors"});

  // A killed save leaves a temporary file; the next one removes it, and only that.
  std::ofstream(folder / "notes.tmp-1-1") << "mine";
  std::ofstream(folder / "step-000000001.safetensors.tmp-12-0") << "left behind";
  std::ofstream(folder / "best.safetensors.tmp-12-0") << "left behind";
  const nn::CheckpointFolder reopened(folder.path());
  reopened.save({.model = &model}, {.step = 450});
  CHECK(names() == Names{"best.safetensors", "notes.tmp-1-1", "step-000000400.safetensors",
                         "step-000000450.safetensors", "step-000000500.safetensors"});
  CHECK(reopened.latest() == folder / "step-000000500.safetensors");

  // Names that no step is given are somebody else's, and so are folders.
  fs::create_directories(folder / "step-000000999.safetensors");
  for (const char* name : {"step-9999.safetensors", "step--00000007.safetensors",
                           "step-0000000999.safetensors", "step-999999999.safetensors.bak"}) {
    std::ofstream(folder / name) << "mine";
  }
  CHECK(reopened.latest() == folder / "step-000000500.safetensors");
  CHECK_THROWS_AS(reopened.save({.model = &model}, {.step = -1}), Error);
  const nn::CheckpointFolder large(folder / "large");
  fs::create_directories(folder / "large");
  large.save({.model = &model}, {.step = 12'345'678'901});
  CHECK(large.latest() == folder / "large" / "step-12345678901.safetensors");

  // The best one is there before the step's, which resumed runs begin after.
  const nn::CheckpointFolder full(folder / "full");
  fs::create_directories(folder / "full" / "step-000000600.safetensors");
  CHECK_THROWS_AS(full.save({.model = &model}, {.step = 600, .score = 99}), Error);
  CHECK(nn::read_training_state(*full.best()).step == 600);

  // A best one that cannot be read is an error, but the step is saved.
  const nn::CheckpointFolder damaged(folder / "damaged");
  fs::create_directories(folder / "damaged");
  std::ofstream(folder / "damaged/best.safetensors") << "not one";
  CHECK_THROWS_AS(damaged.save({.model = &model}, {.step = 7, .score = 1}), Error);
  CHECK(nn::read_training_state(*damaged.latest()).step == 7);

  CHECK_THROWS_AS(nn::CheckpointFolder(folder.path(), 0), Error);
  CHECK_THROWS_AS(
      nn::CheckpointFolder(folder / "best.safetensors/below").save({.model = &model}, {}), Error);
}
