// Every objective in f64 against its formula in PyTorch (objectives.py): loss, terms, and the
// gradients of embeddings and parameters, over several steps where there is state.
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ssl/objective.hpp>
#include <set>

#include "golden.hpp"

using namespace invar;
using golden::json;

namespace {

constexpr double kTolerance = 1e-9;

/// f64 and with the initial values of objectives.py; what is not trained stays as it was made.
std::unique_ptr<ssl::Objective> make(const std::string& name, const json& c) {
  auto objective = ssl::make_objective(c.at("config"), c.at("d"));
  objective->to(DType::f64);
  NoGrad guard;
  for (const nn::NamedTensor& p : objective->named_parameters()) {
    copy_(p.tensor, golden::initial(name + "/" + p.name, p.tensor.shape(), DType::f64));
  }
  return objective;
}

void run_step(const std::string& name, const json& c, std::size_t step, ssl::Objective& objective) {
  const json& theirs = c.at("steps")[step];
  const std::int64_t n = c.at("n"), d = c.at("d");
  const auto make_views = [&](const char* what) {
    Tensors views;
    for (int v = 0; v < c.at("views"); ++v) {
      views.push_back(golden::uniform(fmt::format("{}/step{}/{}{}", name, step, what, v), {n, d},
                                      DType::f64, 0.1 * v, c.at("scale")));
    }
    return views;
  };
  ssl::EmbeddedBatch batch{.embeddings = make_views("z"), .epoch = theirs.at("epoch")};
  if (c.at("targets")) batch.targets = make_views("t");
  if (const std::int64_t classes = c.at("labels"); classes > 0) {
    batch.labels = golden::integers(fmt::format("{}/step{}/labels", name, step), {n}, classes);
  }
  for (const Tensor& z : batch.embeddings) z.requires_grad_();
  objective.zero_grad();
  const ssl::ObjectiveOutput output = objective(batch);
  output.loss.backward();

  const std::string where = fmt::format("{} step {}: ", name, step);
  golden::compare(where + "loss", output.loss.item(), theirs.at("loss"), kTolerance);
  const json& terms = theirs.at("terms");
  REQUIRE(output.terms.size() == terms.size());
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const auto& [term, value] = output.terms[i];
    CHECK_FALSE(value.requires_grad());
    golden::compare(where + term, value.item(), terms[i], kTolerance);
  }
  double all_gradients = 0;
  for (const auto& [key, record] : theirs.at("grads").items()) {
    if (record.contains("norm")) all_gradients += std::pow(record.at("norm").get<double>(), 2);
  }
  all_gradients = std::sqrt(all_gradients);
  std::set<std::string> seen;
  const auto compare = [&](const std::string& key, const Tensor& leaf) {
    if (!theirs.at("grads").contains(key)) {
      INFO(where << "PyTorch has no gradient of " << key);
      CHECK_FALSE(leaf.grad().defined());
      return;
    }
    seen.insert(key);
    INFO(where << "gradient of " << key);
    REQUIRE(leaf.grad().defined());
    golden::compare(where + "gradient of " + key, leaf.grad(), theirs.at("grads").at(key),
                    kTolerance, all_gradients);
  };
  for (std::size_t v = 0; v < batch.embeddings.size(); ++v) {
    compare(fmt::format("z{}", v), batch.embeddings[v]);
  }
  for (const nn::NamedTensor& p : objective.named_parameters()) compare(p.name, p.tensor);
  CHECK(seen.size() == theirs.at("grads").size());
}

}  // namespace

TEST_CASE("objectives give PyTorch's losses and gradients", "[golden]") {
  const json file = golden::load("objectives.json");
  std::set<std::string> covered;
  for (const auto& [name, c] : file.items()) {
    INFO(name);
    covered.insert(c.at("config").at("name").get<std::string>());
    try {
      const auto objective = make(name, c);
      for (std::size_t step = 0; step < c.at("steps").size(); ++step) {
        run_step(name, c, step, *objective);
      }
    } catch (const std::exception& error) {  // so that the other cases run all the same
      FAIL_CHECK(name << ": " << error.what());
    }
  }
  for (const std::string& name : ssl::objective_names()) {
    INFO(name);
    CHECK(covered.contains(name));
  }
}
