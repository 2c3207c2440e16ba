// What holds for every objective, one body over a table; then what is special about some. Their
// numbers are compared with PyTorch's in tests/golden.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <complex>
#include <filesystem>
#include <functional>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/objectives/barlow_twins.hpp>
#include <invar/ssl/objectives/corinfomax.hpp>
#include <invar/ssl/objectives/mec.hpp>
#include <invar/ssl/objectives/moco_v3.hpp>
#include <invar/ssl/objectives/sigreg.hpp>
#include <invar/ssl/objectives/simclr.hpp>
#include <invar/ssl/objectives/simsiam.hpp>
#include <invar/ssl/objectives/supcon.hpp>
#include <invar/ssl/objectives/swav.hpp>
#include <invar/ssl/objectives/vibcreg.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <invar/ssl/objectives/vicreg_entropy.hpp>
#include <invar/ssl/objectives/w_mse.hpp>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

constexpr TensorOptions kDouble{.dtype = DType::f64};
constexpr std::int64_t kSamples = 10, kDim = 4;

struct Case {
  Json config;
  /// Finite differences see what the gradient is stopped at: SimSiam's and SwAV's targets.
  bool stops_gradient = false;
  std::int64_t dim = kDim;
  std::set<std::size_t> views = {2, 3};  ///< numbers of views that it takes
};

const std::vector<Case>& cases() {
  static const std::vector<Case> table = {
      {{{"name", "barlow_twins"}}},
      {.config = {{"name", "barlow_twins"}}, .dim = 24},  // the n x n form
      {{{"name", "byol"}, {"hidden", 5}}},
      {{{"name", "byol_logdet"}, {"hidden", 5}}},
      {{{"name", "byol_pairdist"}, {"hidden", 5}}},
      {.config = {{"name", "corinfomax"}, {"old", 0.3}}, .views = {2}},
      {.config = {{"name", "corinfomax"}, {"views", 3}}, .views = {3}},
      {{{"name", "mec"}, {"hidden", 5}}},
      {{{"name", "moco_v3"}, {"hidden", 5}}},
      {{{"name", "sigreg"}, {"slices", 6}}},
      {{{"name", "simclr"}}},
      {{{"name", "simsiam"}, {"hidden", 5}}, true},
      {{{"name", "supcon"}}},
      {{{"name", "swav"}, {"prototypes", 5}}, true},
      {{{"name", "swav"}, {"prototypes", 5}, {"queue", 2 * kSamples}, {"queue_epoch", 0}}, true},
      {{{"name", "tcr"}}},
      {.config = {{"name", "tcr"}}, .dim = 12},
      {{{"name", "vibcreg"}}},
      {{{"name", "vibcreg"}, {"iter_norm", 3}}},
      {{{"name", "vicreg"}}},
      {{{"name", "vicreg_logdet"}}},
      {.config = {{"name", "vicreg_logdet"}, {"regulariser", "add"}, {"beta", 0.1}}, .dim = 12},
      {{{"name", "vicreg_pairdist"}}},
      {{{"name", "vicreg_pairdist"}, {"regulariser", "add"}, {"bound", "upper"}, {"s2", 2.0}}},
      {{{"name", "w_mse"}}},
      {.config = {{"name", "w_mse"}, {"part", 5}, {"eps", 0.1}}, .dim = 6},
  };
  return table;
}

std::unique_ptr<ssl::Objective> make(const Case& c, DType dtype = DType::f64) {
  manual_seed(11);
  auto objective = ssl::make_objective(c.config, c.dim);
  objective->to(dtype);
  return objective;
}

ssl::EmbeddedBatch make_batch(const Case& c, std::size_t views, std::uint64_t seed = 1) {
  manual_seed(seed);
  ssl::EmbeddedBatch batch;
  const Tensor shared = randn({kSamples, c.dim}, kDouble);
  for (std::size_t v = 0; v < views; ++v) {
    batch.embeddings.push_back(shared + randn({kSamples, c.dim}, kDouble) * 0.4 + 0.1);
    batch.targets.push_back(shared + randn({kSamples, c.dim}, kDouble) * 0.4);
  }
  batch.labels = randint(0, 3, {kSamples});
  batch.epoch = 3;
  batch.progress = 0.3;
  manual_seed(seed + 100);  // for what the objective draws
  return batch;
}

double loss_of(const Case& c, const ssl::EmbeddedBatch& batch) {
  const auto objective = make(c);
  manual_seed(5);
  return (*objective)(batch).loss.item();
}

/// Runs `body` for every case and every number of views that it takes.
void for_all(const std::function<void(const Case&, std::size_t views)>& body) {
  for (const Case& c : cases()) {
    for (const std::size_t views : c.views) {
      INFO(c.config.dump() << ", " << views << " views");
      body(c, views);
    }
  }
}

std::string message_of(ssl::Objective& objective, const ssl::EmbeddedBatch& batch) {
  try {
    objective(batch);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// A copy of the values of all parameters and buffers.
std::vector<Tensor> snapshot(const nn::Module& module) {
  std::vector<Tensor> values;
  for (const auto& p : module.named_parameters()) values.push_back(clone(p.tensor.detach()));
  for (const auto& b : module.named_buffers()) values.push_back(clone(b.tensor));
  return values;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && all(eq(a, b)).item() != 0;
}

}  // namespace

TEST_CASE("every objective is in the table", "[unit]") {
  std::set<std::string> tested;
  for (const Case& c : cases()) tested.insert(c.config.at("name").get<std::string>());
  for (const std::string& name : ssl::objective_names()) CHECK(tested.contains(name));
}

TEST_CASE("an objective gives a finite loss, terms without history, gradients everywhere",
          "[unit][smoke]") {
  for_all([](const Case& c, std::size_t views) {
    const auto objective = make(c);
    const ssl::EmbeddedBatch batch = make_batch(c, views);
    for (const Tensor& z : batch.embeddings) z.requires_grad_();
    const ssl::ObjectiveOutput output = (*objective)(batch);
    REQUIRE(output.loss.shape() == Dims{});
    CHECK(std::isfinite(output.loss.item()));
    for (const auto& [name, term] : output.terms) {
      INFO(name);
      CHECK_FALSE(term.requires_grad());
      CHECK(term.shape() == Dims{});
      CHECK(std::isfinite(term.item()));
    }
    output.loss.backward();
    for (const Tensor& z : batch.embeddings) {
      REQUIRE(z.grad().defined());
      CHECK(norm(z.grad()).item() > 0);
    }
    for (const auto& p : objective->named_parameters()) {
      INFO(p.name);
      REQUIRE(p.tensor.grad().defined());
      CHECK(norm(p.tensor.grad()).item() > 0);
    }
    CHECK(objective->needs().targets ==
          (objective->name().starts_with("byol") || objective->name() == "mec" ||
           objective->name() == "moco_v3"));
    CHECK(objective->needs().labels == (objective->name() == "supcon"));
  });
}

TEST_CASE("an objective does not care about the order of views and of samples", "[unit]") {
  for_all([](const Case& c, std::size_t views) {
    ssl::EmbeddedBatch batch = make_batch(c, views);
    const double loss = loss_of(c, batch);
    std::reverse(batch.embeddings.begin(), batch.embeddings.end());
    std::reverse(batch.targets.begin(), batch.targets.end());
    const bool first_two = c.config.at("name") == "swav" && views > 2;  // makes codes from them
    if (!first_two) CHECK_THAT(loss_of(c, batch), WithinRel(loss, 1e-10));
    if (c.config.contains("part")) return;  // another division
    const double again = loss_of(c, batch);
    const Tensor order = randperm(kSamples);
    for (Tensors* tensors : {&batch.embeddings, &batch.targets}) {
      for (Tensor& z : *tensors) z = index_select(z, 0, order);
    }
    batch.labels = index_select(batch.labels, 0, order);
    CHECK_THAT(loss_of(c, batch), WithinRel(again, 1e-9));
  });
}

TEST_CASE("gradients of objectives", "[gradcheck]") {
  for_all([](const Case& c, std::size_t views) {
    if (c.stops_gradient) return;
    const ssl::EmbeddedBatch batch = make_batch(c, views);
    const auto objective = make(c);
    objective->train();
    (*objective)(make_batch(c, views, 2));  // so that there is a past
    objective->eval();                      // which is not to change
    // Batch-norm's own statistics, as in training.
    for (auto& [name, module] : objective->named_modules()) {
      if (!name.empty()) module->train();
    }
    const auto f = [&](const Tensors& embeddings) {
      manual_seed(3);
      ssl::EmbeddedBatch at = batch;
      at.embeddings = embeddings;
      return Tensors{(*objective)(at).loss};
    };
    const auto first = gradcheck(f, batch.embeddings, {.atol = 1e-7});
    INFO(first.message);
    CHECK(first.ok);
    if (views > 2) return;
    const auto second = gradgradcheck(f, batch.embeddings, {.atol = 1e-6, .rtol = 1e-5});
    INFO(second.message);
    CHECK(second.ok);
  });
}

TEST_CASE("an objective refuses what it cannot measure", "[unit]") {
  for_all([](const Case& c, std::size_t views) {
    const auto objective = make(c);
    const ssl::EmbeddedBatch good = make_batch(c, views);
    const auto refuses = [&](const char* why, const std::function<void(ssl::EmbeddedBatch&)>& f) {
      ssl::EmbeddedBatch bad = good;
      f(bad);
      const std::string message = message_of(*objective, bad);
      CHECK_THAT(message, ContainsSubstring(why));
      CHECK_THAT(message, ContainsSubstring("[" + objective->name() + "]"));
    };
    refuses("at least 2 views", [](auto& b) { b.embeddings.resize(1); });
    refuses("at least 2 views", [](auto& b) { b.embeddings.clear(); });
    refuses("n >= 2", [](auto& b) {
      for (Tensor& z : b.embeddings) z = narrow(z, 0, 0, 1);
    });
    refuses("[n, d]", [](auto& b) {
      for (Tensor& z : b.embeddings) z = unsqueeze(z, 0);
    });
    refuses("one shape", [](auto& b) { b.embeddings[1] = narrow(b.embeddings[1], 0, 0, 5); });
    refuses("one shape", [](auto& b) { b.embeddings[1] = narrow(b.embeddings[1], 1, 0, 1); });
    refuses("one shape", [](auto& b) { b.embeddings[1] = to(b.embeddings[1], DType::f32); });
    refuses("floating", [](auto& b) {
      for (Tensor& z : b.embeddings) z = to(z, DType::i64);
    });
    if (objective->needs().targets) {
      refuses("a target for each", [](auto& b) { b.targets.clear(); });
      refuses("one shape", [](auto& b) { b.targets[0] = narrow(b.targets[0], 0, 0, 5); });
    }
    if (objective->needs().labels) {
      refuses("labels", [](auto& b) { b.labels = {}; });
      refuses("labels", [](auto& b) { b.labels = narrow(b.labels, 0, 0, 5); });
    }
  });
  const auto corinfomax = make(cases()[5]);
  CHECK_THAT(message_of(*corinfomax, make_batch(cases()[5], 3)), ContainsSubstring("2 views"));
}

TEST_CASE("objectives in f32", "[unit]") {
  for_all([](const Case& c, std::size_t views) {
    const ssl::EmbeddedBatch batch = make_batch(c, views);
    const double exact = loss_of(c, batch);
    ssl::EmbeddedBatch single = batch;
    for (Tensors* tensors : {&single.embeddings, &single.targets}) {
      for (Tensor& z : *tensors) z = to(z, DType::f32);
    }
    manual_seed(11);
    const auto objective = ssl::make_objective(c.config, c.dim);  // as it is made: f32
    manual_seed(5);
    const ssl::ObjectiveOutput output = (*objective)(single);
    CHECK(output.loss.dtype() == DType::f32);
    CHECK_THAT(output.loss.item(), WithinAbs(exact, 2e-4 * std::max(1.0, std::abs(exact))));
  });
}

TEST_CASE("an objective resumes bit for bit", "[unit]") {
  const auto path = std::filesystem::temp_directory_path() / "invar-objective.safetensors";
  for_all([&](const Case& c, std::size_t views) {
    const auto objective = make(c);
    for (std::uint64_t step = 0; step < 3; ++step) (*objective)(make_batch(c, views, step));
    ssl::EmbeddedBatch batch = make_batch(c, views, 9);
    nn::CheckpointParts parts{.model = objective.get()};
    nn::save_checkpoint(path, parts, {.step = 3});
    const auto expected = (*objective)(batch);
    manual_seed(77);
    const auto other = ssl::make_objective(c.config, c.dim);
    other->to(DType::f64);
    parts.model = other.get();
    nn::load_checkpoint(path, parts);
    const auto resumed = (*other)(batch);
    CHECK(resumed.loss.item() == expected.loss.item());
    const auto ours = snapshot(*other), theirs = snapshot(*objective);
    REQUIRE(ours.size() == theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) CHECK(equal(ours[i], theirs[i]));
  });
  std::filesystem::remove(path);
}

TEST_CASE("a small network learns by every objective and does not collapse", "[unit]") {
  // Samples of eight groups; a view is a sample with noise of its own.
  constexpr std::int64_t kBatch = 40, kInputs = 12, kSteps = 150;
  for (const Case& c : cases()) {
    if (c.views.contains(2) == false || c.dim != kDim || c.config.contains("queue")) continue;
    INFO(c.config.dump());
    manual_seed(21);
    const Tensor centres = randn({8, kInputs}) * 2;
    auto network = ssl::make_expander(kInputs, {.layers = {24, c.dim}});
    auto target = network;
    target.requires_grad_(false);
    const auto objective = ssl::make_objective(c.config, c.dim);
    std::vector<nn::NamedTensor> all = network.named_parameters();
    for (nn::NamedTensor& p : objective->named_parameters()) {
      all.push_back({"objective." + p.name, p.tensor});
    }
    nn::AdamW optimizer(all, {.lr = 5e-3});
    double first = 0, last = 0;
    Tensors z;
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const Tensor labels = randint(0, 8, {kBatch});
      const Tensor samples = index_select(centres, 0, labels) + randn({kBatch, kInputs});
      ssl::EmbeddedBatch batch{.embeddings = {}, .labels = labels, .epoch = 20};
      for (int view = 0; view < 2; ++view) {
        const Tensor x = samples + randn({kBatch, kInputs}) * 0.3;
        batch.embeddings.push_back(network(x));
        if (objective->needs().targets) batch.targets.push_back(target(x).detach());
      }
      optimizer.zero_grad();
      const Tensor loss = (*objective)(batch).loss;
      loss.backward();
      optimizer.step();
      if (objective->needs().targets) nn::ema_update_(target, network, 0.9);
      if (step < 10) first += loss.item() / 10;
      if (step >= kSteps - 10) last += loss.item() / 10;
      z = batch.embeddings;
    }
    UNSCOPED_INFO("loss " << first << " -> " << last << ", rank " << ssl::diagnostic("rankme", z)
                          << ", alignment " << ssl::diagnostic("alignment", z));
    CHECK(last < first);
    CHECK(ssl::diagnostic("rankme", z) > 1.5);
    CHECK(ssl::diagnostic("alignment", z) < 0.5);
    CHECK(ssl::diagnostic("dead", z) == 0);
  }
}

TEST_CASE("an objective in eval mode stays as it is", "[unit]") {
  for_all([](const Case& c, std::size_t views) {
    const auto objective = make(c);
    (*objective)(make_batch(c, views, 2));
    objective->eval();
    const auto before = snapshot(*objective);
    (*objective)(make_batch(c, views, 3));
    const auto after = snapshot(*objective);
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(equal(before[i], after[i]));
  });
}

TEST_CASE("bad options of objectives are named", "[unit]") {
  const auto fails = [](const Json& config, const char* why) {
    CHECK_THROWS_MATCHES(ssl::make_objective(config, 8), Error,
                         MessageMatches(ContainsSubstring(why)));
  };
  for (const std::string& name : ssl::objective_names()) {
    INFO(name);
    fails({{"name", name}, {"no_such_option", 1}}, "no_such_option");
    fails({{"name", name}, {"no_such_option", 1}}, ("[" + name + "]").c_str());
  }
  fails({{"name", "simclr"}, {"temperature", 0.0}}, "temperature > 0");
  fails({{"name", "byol"}, {"base_decay", 1.5}}, "[0, 1]");
  fails({{"name", "byol_logdet"}, {"base_decay", 1.5}}, "[byol_logdet] expected base_decay");
  fails({{"name", "mec"}, {"hidden", 0}}, "[mec] expected hidden");
  fails({{"name", "swav"}, {"prototypes", 1}}, "at least 2 prototypes");
  fails({{"name", "sigreg"}, {"knots", 4}}, "odd");
  fails({{"name", "vicreg_pairdist"}, {"bound", "middle"}}, "\"upper\" or \"lower\"");
  fails({{"name", "vicreg_logdet"}, {"regulariser", "remove"}}, "\"replace\" or \"add\"");
  fails({{"name", "vicreg_logdet"}, {"beta", 0.0}}, "beta > 0");
  fails({{"name", "vicreg_logdet"}, {"s2", 1.0}}, "s2");
  fails({{"name", "vicreg_logdet"}, {"covariance", 2.0}}, "covariance");  // it has none
  fails({{"name", "corinfomax"}, {"old", -0.1}}, "[0, 1]");
  fails({{"name", "w_mse"}, {"part", 1}}, "part >= 2");
  fails({{"name", "vicreg"}, {"covariance", -1}}, "[vicreg] expected covariance >= 0, got -1");
  fails({{"name", "tcr"}, {"rate", -1}}, "[tcr] expected rate >= 0");
  fails({{"name", "byol_pairdist"}, {"s2", -1}}, "[byol_pairdist] expected s2 >= 0");
  fails({{"name", "barlow_twin"}}, "did you mean \"barlow_twins\"");

  // Those of a program, too, which come from no reader.
  const double nan = std::nan("");
  CHECK_THROWS_AS(ssl::Wmse({.part = 0}), Error);
  CHECK_THROWS_AS(ssl::VibcReg({.iter_norm = 1, .group = 0}), Error);
  CHECK_THROWS_AS(ssl::iterative_norm(randn({4, 4}), 1, 0), Error);
  CHECK_THROWS_AS(ssl::SimClr({.temperature = -1}), Error);
  CHECK_THROWS_AS(ssl::SupCon({.temperature = 0}), Error);
  CHECK_THROWS_AS(ssl::MocoV3(4, {.temperature = nan}), Error);
  CHECK_THROWS_AS(ssl::SigReg({.knots = 4}), Error);
  CHECK_THROWS_AS(ssl::epps_pulley(randn({4, 4}), 1, 3), Error);
  CHECK_THROWS_AS(ssl::Swav(4, {.prototypes = -1}), Error);
  CHECK_THROWS_AS(ssl::Swav(4, {.code_views = -1}), Error);
  CHECK_THROWS_AS(ssl::Mec(4, {.order = 0}), Error);
  CHECK_THROWS_AS(ssl::CorInfoMax(4, {.views = -1}), Error);
  CHECK_THROWS_AS(ssl::SimSiam(4, {.hidden = -1}), Error);
  CHECK_THROWS_AS(ssl::Vicreg({.eps = -1}), Error);
  CHECK_THROWS_AS(ssl::BarlowTwins({.lambda = nan}), Error);
  CHECK_THROWS_AS(ssl::VicregEntropy("mine", {.entropy = {ssl::EntropyEstimator::log_det, 1, 0}}),
                  Error);
}

TEST_CASE("objectives of one's own, by name", "[unit]") {
  class Attract : public ssl::Objective {
   public:
    explicit Attract(double weight) : Objective("attract"), weight_(weight) {}

   private:
    ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch& batch) override {
      return {mse_loss(batch.embeddings[0], batch.embeddings[1]) * weight_, {}};
    }
    double weight_;
  };
  const auto maker = [](JsonReader& options, std::int64_t) {
    return std::make_unique<Attract>(options.get("weight", 1.0));
  };
  if (const auto names = ssl::objective_names();
      std::ranges::find(names, "attract") == names.end()) {
    ssl::register_objective("attract", maker);
  }
  const auto objective = ssl::make_objective({{"name", "attract"}, {"weight", 3.0}}, 2);
  const Tensor z = randn({4, 2}, kDouble);
  CHECK_THAT((*objective)({z, z + 1.0}).loss.item(), WithinRel(3.0, 1e-12));
  CHECK_THROWS_MATCHES(ssl::register_objective("attract", maker), Error,
                       MessageMatches(ContainsSubstring("attract")));
  CHECK_THROWS_MATCHES(ssl::register_objective("vicreg", maker), Error,
                       MessageMatches(ContainsSubstring("vicreg")));
  CHECK_THROWS_MATCHES(
      [] {
        ssl::register_objective("nothing", [](JsonReader&, std::int64_t) { return nullptr; });
        ssl::make_objective({{"name", "nothing"}}, 2);
      }(),
      Error, MessageMatches(ContainsSubstring("null pointer")));
  // Averaged networks without a word about how they are averaged.
  CHECK_THROWS_AS(objective->target_decay(0), Error);
}

TEST_CASE("what an objective of one's own computes is checked", "[unit]") {
  struct Given : ssl::Objective {
    explicit Given(ssl::ObjectiveOutput output) : Objective("given"), output(std::move(output)) {}
    ssl::ObjectiveOutput compute(const ssl::EmbeddedBatch&) override { return output; }
    ssl::ObjectiveOutput output;
  };
  const Tensor z = randn({4, 2}), one = ones({}), four = ones({4});
  CHECK_NOTHROW(Given({one, {{"a", one}, {"b", ones({1})}}})({z, z}));
  for (const auto& [output, message] :
       {std::pair<ssl::ObjectiveOutput, const char*>{{four, {}}, "[given] expected a loss"},
        {{Tensor(), {}}, "an undefined tensor"},
        {{one, {{"a", four}}}, "expected a term \"a\" of one number"},
        {{one, {{"a", Tensor()}}}, "expected a term \"a\" of one number"},
        {{one, {{"a", one}, {"a", one}}}, "another \"a\""}}) {
    Given objective(output);
    CHECK_THROWS_MATCHES(objective({z, z}), Error, MessageMatches(ContainsSubstring(message)));
  }
  const ssl::ObjectiveOutput output = Given({one, {{"a", one}, {"floor", one}}})({z, z});
  CHECK_NOTHROW(ssl::check_term_names("given", output, {"loss", "step"}));
  CHECK_THROWS_MATCHES(ssl::check_term_names("given", output, {"loss", "floor"}), Error,
                       MessageMatches(ContainsSubstring("[given] expected terms") &&
                                      ContainsSubstring("another \"floor\"")));
}

TEST_CASE("the averages of BYOL and its relatives slow down", "[unit]") {
  for (const auto& [name, base] : {std::pair{"byol", 0.996}, {"moco_v3", 0.99}, {"mec", 0.996}}) {
    const auto objective = ssl::make_objective({{"name", name}}, 4);
    CHECK_THAT(objective->target_decay(0), WithinRel(base, 1e-12));
    CHECK_THAT(objective->target_decay(0.5), WithinRel((1 + base) / 2, 1e-12));
    CHECK_THAT(objective->target_decay(1), WithinRel(1.0, 1e-12));
  }
}

TEST_CASE("contrast of what cannot be told apart", "[unit]") {
  const Tensor same = ones({6, 3}, kDouble);
  const auto objective = ssl::make_objective({{"name", "simclr"}}, 3);
  CHECK_THAT((*objective)({same, same}).loss.item(), WithinRel(std::log(11.0), 1e-12));
  // One group per sample is SimCLR; one group for all leaves nothing to tell.
  const Tensor z = randn({6, 3}, kDouble), other = randn({6, 3}, kDouble);
  const Tensor own = arange(0, 6, 1, {.dtype = DType::i64});
  CHECK_THAT(ssl::contrastive_loss({z, other}, own, 0.5).loss.item(),
             WithinRel((*objective)({z, other}).loss.item(), 1e-12));
}

TEST_CASE("Sinkhorn's codes share the prototypes out", "[unit]") {
  manual_seed(4);
  const Tensor scores = tanh(randn({20, 5}, kDouble) + 2 * randn({1, 5}, kDouble));
  const Tensor q = ssl::sinkhorn(scores, 0.2, 60);
  for (std::int64_t i = 0; i < 20; ++i)
    CHECK_THAT(sum(select(q, 0, i)).item(), WithinRel(1.0, 1e-9));
  for (std::int64_t k = 0; k < 5; ++k)
    CHECK_THAT(sum(select(q, 1, k)).item(), WithinRel(4.0, 1e-6));
  // A constant added to all scores changes nothing, and large scores do not overflow.
  const Tensor shifted = ssl::sinkhorn(to(scores + 500.0, DType::f32), 0.2, 60);
  CHECK(amax(abs(to(shifted, DType::f64) - q)).item() < 1e-2);
  // Nor does a column whose exponentials all vanish.
  const Tensor sharp = ssl::sinkhorn(reshape(tensor({1, -1, 1, -1}), {2, 2}), 0.01, 3);
  CHECK(amax(abs(sharp - 0.5)).item() < 1e-6);
}

TEST_CASE("Losses of several batches can be added before backward", "[unit]") {
  for_all([](const Case& c, std::size_t views) {
    const auto together = make(c), apart = make(c);
    const auto gradients = [&](ssl::Objective& objective, bool added) {
      manual_seed(4);
      ssl::EmbeddedBatch batches[] = {make_batch(c, views, 2), make_batch(c, views, 3)};
      Tensors inputs;
      Tensor total;
      for (ssl::EmbeddedBatch& batch : batches) {
        batch.epoch = 20;
        for (const Tensor& z : batch.embeddings) inputs.push_back(z.requires_grad_());
        const Tensor loss = objective(batch).loss;
        if (!added) loss.backward();
        total = total.defined() ? total + loss : loss;
      }
      if (added) total.backward();
      for (const Tensor& p : objective.parameters()) inputs.push_back(p);
      Tensors found;
      for (const Tensor& x : inputs) found.push_back(x.grad());
      return found;
    };
    const Tensors a = gradients(*together, true), b = gradients(*apart, false);
    for (std::size_t i = 0; i < a.size(); ++i) {
      REQUIRE(a[i].defined() == b[i].defined());
      if (a[i].defined())
        CHECK(amax(abs(a[i] - b[i])).item() <= 1e-12 * (1 + amax(abs(b[i])).item()));
    }
  });
}

TEST_CASE("SwAV: prototypes have length 1, freeze, and queue", "[unit]") {
  const Case c{{{"name", "swav"}, {"prototypes", 5}, {"queue", 20}, {"queue_epoch", 0}}, true};
  const auto made = make(c);
  auto& swav = dynamic_cast<ssl::Swav&>(*made);
  ssl::EmbeddedBatch batch = make_batch(c, 2);
  {
    NoGrad guard;
    mul_(swav.prototypes, 3);
  }
  batch.epoch = 0.5;
  for (const Tensor& z : batch.embeddings) z.requires_grad_();
  swav(batch).loss.backward();
  CHECK_FALSE(swav.prototypes.grad().defined());
  CHECK_THAT(norm(select(swav.prototypes.detach(), 0, 2)).item(), WithinRel(1.0, 1e-12));
  CHECK(swav.queued.item() == kSamples);
  batch.epoch = 1;
  swav(batch).loss.backward();
  CHECK(swav.prototypes.grad().defined());
  CHECK(swav.queued.item() == 2 * kSamples);
  // The newest rows come first.
  const Tensor newest = select(select(swav.queue, 0, 1), 0, 3);
  CHECK(equal(newest, select(normalize(batch.embeddings[1].detach()), 0, 3)));
  for (Tensor& z : batch.embeddings) z = narrow(z.detach(), 0, 0, 7);
  CHECK_THAT(message_of(swav, batch), ContainsSubstring("multiple of the batch"));
}

TEST_CASE("whitened embeddings have covariance I", "[unit]") {
  manual_seed(6);
  const Tensor z = matmul(randn({3, 40, 5}, kDouble), randn({5, 5}, kDouble)) + 2.0;
  const Tensor w = ssl::whiten(z, 0);
  const Tensor c = matmul(transpose(w), w) / 39.0;
  CHECK(amax(abs(c - eye(5, -1, kDouble))).item() < 1e-10);
  CHECK(amax(abs(mean(w, {1}))).item() < 1e-10);
  const Tensor n = ssl::iterative_norm(randn({40, 5}, kDouble) + 2.0, 9, 32);
  const Tensor newton = matmul(transpose(n), n) / 40.0;
  CHECK(amax(abs(newton - eye(5, -1, kDouble))).item() < 1e-3);
}

TEST_CASE("IterNorm whitens groups of dimensions by themselves", "[unit]") {
  manual_seed(7);
  const Tensor z = matmul(randn({400, 8}, kDouble), randn({8, 8}, kDouble));
  const Tensor grouped = ssl::iterative_norm(z, 3, 4);
  CHECK(amax(abs(narrow(grouped, 1, 0, 4) - ssl::iterative_norm(narrow(z, 1, 0, 4), 3, 4))).item() <
        1e-12);
  CHECK(amax(abs(narrow(grouped, 1, 4, 4) - ssl::iterative_norm(narrow(z, 1, 4, 4), 3, 4))).item() <
        1e-12);
  CHECK_THROWS_WITH(ssl::iterative_norm(z, 3, 3), ContainsSubstring("groups of 3 for"));
  // Five steps are enough for groups of 32 and far too few for 256 dimensions at once.
  const Tensor wide = randn({4000, 256}, kDouble);
  CHECK(mean(invar::std(ssl::iterative_norm(wide, 5, 32), {0})).item() > 0.88);
  CHECK(mean(invar::std(ssl::iterative_norm(wide, 5, 256), {0})).item() < 0.5);
}

TEST_CASE("W-MSE is the mean over its parts and divisions", "[unit]") {
  const Case c{{{"name", "w_mse"}, {"part", 5}}};
  const ssl::EmbeddedBatch batch = make_batch({.config = c.config, .dim = 3}, 2);
  const auto whole = ssl::make_objective({{"name", "w_mse"}}, 3);
  for (const int iterations : {1, 3}) {
    INFO(iterations << " divisions");
    manual_seed(8);
    Tensors orders;
    for (int i = 0; i < iterations; ++i) orders.push_back(randperm(kSamples));
    double expected = 0;
    for (const Tensor& order : orders) {
      for (std::int64_t part = 0; part < 2; ++part) {
        Tensors views;
        for (const Tensor& z : batch.embeddings) {
          views.push_back(index_select(z, 0, narrow(order, 0, 5 * part, 5)));
        }
        expected += (*whole)(views).loss.item() / (2 * iterations);
      }
    }
    const auto parts =
        ssl::make_objective({{"name", "w_mse"}, {"part", 5}, {"iterations", iterations}}, 3);
    manual_seed(8);
    CHECK_THAT((*parts)(batch).loss.item(), WithinRel(expected, 1e-10));
  }
  CHECK_THAT(message_of(*ssl::make_objective({{"name", "w_mse"}, {"part", 4}}, 3), batch),
             ContainsSubstring("multiple of 4"));
  CHECK_THAT(message_of(*whole, make_batch({.config = c.config, .dim = 12}, 2)),
             ContainsSubstring("singular"));
}

TEST_CASE("MEC's series is the log-determinant", "[unit]") {
  manual_seed(9);
  const Tensor a = randn({6, 6}, kDouble);
  const Tensor c = matmul(a, transpose(a)) * 0.01;
  CHECK_THAT(ssl::log_series_trace(c, 40).item(),
             WithinRel(logdet(c + eye(6, -1, kDouble)).item(), 1e-10));
}

TEST_CASE("SIGReg's statistic under normality and away from it", "[unit]") {
  manual_seed(10);
  const Tensor u = randn({64, 4000}, kDouble);
  const double expected = std::sqrt(2 * std::numbers::pi) * (1 - 1 / std::sqrt(3.0));
  CHECK_THAT(mean(ssl::epps_pulley(u, 17, 5)).item(), WithinRel(expected, 0.05));
  // Collapse to 0: n times the integral of (1 - e^(-t^2/2))^2 e^(-t^2/2).
  const double collapsed =
      std::sqrt(2 * std::numbers::pi) * (1 - 2 / std::sqrt(2.0) + 1 / std::sqrt(3.0));
  CHECK_THAT(ssl::epps_pulley(zeros({64, 1}, kDouble), 17, 5).item(),
             WithinRel(64 * collapsed, 1e-3));
}

TEST_CASE("SIGReg pulls what lies far outside back", "[unit]") {
  const ssl::SigReg::Options o;
  const auto slope = [](std::int64_t knots, double t_max, double shift) {
    manual_seed(11);
    const Tensor u = (randn({256, 1}, kDouble) + shift).requires_grad_();
    sum(ssl::epps_pulley(u, knots, t_max)).backward();
    return sum(u.grad()).item();
  };
  for (const double shift : {1.0, 4.0, 6.0}) CHECK(slope(o.knots, o.t_max, shift) > 0);
  CHECK(slope(17, 5, 6) < 0);  // the next image of the cloud is nearer: see the header
}

TEST_CASE("SIGReg in several dimensions, one number at a time", "[unit]") {
  constexpr std::int64_t kSlices = 6;
  constexpr int kKnots = 9;
  const double t_max = 3, lambda = 0.4;
  const ssl::EmbeddedBatch batch = make_batch({.config = {}}, 3);
  const auto objective = ssl::make_objective({{"name", "sigreg"},
                                              {"lambda", lambda},
                                              {"slices", kSlices},
                                              {"knots", kKnots},
                                              {"t_max", t_max}},
                                             kDim);
  manual_seed(15);
  const Tensor drawn = randn({kDim, kSlices});  // the directions, before they have length 1
  double invariance = 0, statistic = 0;
  const double views = static_cast<double>(batch.embeddings.size());
  for (std::int64_t i = 0; i < kSamples * kDim; ++i) {
    double centre = 0;
    for (const Tensor& z : batch.embeddings) centre += z.data<double>()[i] / views;
    for (const Tensor& z : batch.embeddings) {
      invariance += std::pow(z.data<double>()[i] - centre, 2) / (views * kSamples * kDim);
    }
  }
  for (const Tensor& z : batch.embeddings) {
    for (std::int64_t k = 0; k < kSlices; ++k) {
      double length = 0;
      const auto direction = [&](std::int64_t j) {
        return static_cast<double>(drawn.data<float>()[j * kSlices + k]);
      };
      for (std::int64_t j = 0; j < kDim; ++j) length += std::pow(direction(j), 2);
      double integral = 0;
      for (int knot = 0; knot < kKnots; ++knot) {
        const double step = 2 * t_max / (kKnots - 1), t = -t_max + step * knot;
        std::complex<double> difference = -std::exp(-t * t / 2);
        for (std::int64_t i = 0; i < kSamples; ++i) {
          double u = 0;
          for (std::int64_t j = 0; j < kDim; ++j) {
            u += z.data<double>()[i * kDim + j] * direction(j) / std::sqrt(length);
          }
          difference += std::exp(std::complex<double>(0, t * u)) / double{kSamples};
        }
        const double end = knot == 0 || knot == kKnots - 1 ? 0.5 : 1;
        integral += end * step * std::norm(difference) * std::exp(-t * t / 2);
      }
      statistic += kSamples * integral / (kSlices * views);
    }
  }
  manual_seed(15);
  const ssl::ObjectiveOutput output = (*objective)(batch);
  CHECK_THAT(output.terms[0].second.item(), WithinRel(invariance, 1e-10));
  CHECK_THAT(output.terms[1].second.item(), WithinRel(statistic, 1e-10));
  CHECK_THAT(output.loss.item(), WithinRel((1 - lambda) * invariance + lambda * statistic, 1e-10));
}

TEST_CASE("PairDist's own s2 makes both bounds one loss", "[unit]") {
  const Case lower{{{"name", "vicreg_pairdist"}, {"bound", "lower"}}};
  const Case upper{{{"name", "vicreg_pairdist"}, {"bound", "upper"}}};
  const ssl::EmbeddedBatch batch = make_batch(lower, 2);
  CHECK_THAT(loss_of(lower, batch), WithinRel(loss_of(upper, batch), 1e-12));
}

TEST_CASE("shrinking unrelated views does not pay: PairDist's own s2, LogDet's own beta",
          "[unit]") {
  manual_seed(14);
  ssl::EmbeddedBatch batch;
  for (int view = 0; view < 2; ++view) batch.embeddings.push_back(randn({64, 32}, kDouble));
  const auto loss_at = [&](const Json& config, double scale) {
    ssl::EmbeddedBatch scaled = batch;
    for (Tensor& z : scaled.embeddings) z = z * scale;
    return (*ssl::make_objective(config, 32))(scaled).loss.item();
  };
  const Json pairdist = {{"name", "vicreg_pairdist"}}, logdet = {{"name", "vicreg_logdet"}};
  // Twice the limit of Note [Collapse under an invariance term].
  const Json collapsing = {{"name", "vicreg_pairdist"}, {"s2", 2 * 2 * 32 / (8 * 25.0)}};
  const Json too_noisy = {{"name", "vicreg_logdet"}, {"beta", 2 * 10 / (4 * 25.0)}};
  for (double scale = 1e-3; scale < 0.1; scale *= 2) {
    CAPTURE(scale);
    CHECK(loss_at(pairdist, 2 * scale) < loss_at(pairdist, scale));
    CHECK(loss_at(logdet, 2 * scale) < loss_at(logdet, scale));
    CHECK(loss_at(collapsing, 2 * scale) > loss_at(collapsing, scale));
    CHECK(loss_at(too_noisy, 2 * scale) > loss_at(too_noisy, scale));
  }
}

TEST_CASE("VICReg tells its floor, others do not", "[unit]") {
  const auto vicreg = ssl::make_objective({{"name", "vicreg"}}, 4);
  CHECK_THAT(vicreg->floor(256, 2048).value(), WithinAbs(10.69, 0.01));
  CHECK(vicreg->floor(256, 64).value() == 0);
  CHECK_FALSE(ssl::make_objective({{"name", "simclr"}}, 4)->floor(256, 2048));
}

TEST_CASE("LogDet's weight rescales the embeddings, PairDist depends on weight over s2", "[unit]") {
  // w 25 s(z) scales with z^2, so that with z -> sqrt(w) z the loss is w times that of weight 1,
  // but for a constant: H gains log sqrt(w) for beta -> 0, or with beta -> w beta.
  const ssl::EmbeddedBatch batch = make_batch({.config = {}}, 2);
  ssl::EmbeddedBatch scaled = batch;
  for (Tensor& z : scaled.embeddings) z = z * std::sqrt(7.0);
  const Case one{{{"name", "vicreg_logdet"}, {"entropy", 1.0}, {"beta", 1e-2}}};
  const Case seven{{{"name", "vicreg_logdet"}, {"entropy", 7.0}, {"beta", 7e-2}}};
  CHECK_THAT(loss_of(seven, scaled),
             WithinRel(7 * (loss_of(one, batch) - std::log(7.0) / 2), 1e-10));
  const Case near{{{"name", "vicreg_pairdist"}, {"entropy", 1.0}, {"s2", 0.3}}};
  const Case far{{{"name", "vicreg_pairdist"}, {"entropy", 7.0}, {"s2", 2.1}}};
  CHECK_THAT(loss_of(far, scaled), WithinRel(7 * loss_of(near, batch), 1e-10));
}

TEST_CASE("an expander that ends with a batch-norm", "[unit]") {
  manual_seed(12);
  auto expander = ssl::make_expander(3, {.layers = {5, 4}, .last_batch_norm = true});
  const Tensor y = expander(randn({50, 3}));
  CHECK(amax(abs(mean(y, {0}))).item() < 1e-5);
  CHECK(amax(abs(var(y, {0}, 0) - 1.0)).item() < 1e-2);
  CHECK(expander.named_parameters().size() == 5);  // none of the last batch-norm
}
