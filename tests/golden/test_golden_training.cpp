// VICReg and ten steps of each optimiser against PyTorch (optimisers.json), in f64.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/clip.hpp>
#include <invar/nn/optim/lars.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <invar/nn/optim/sgd.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <memory>

#include "golden.hpp"

using namespace invar;
using golden::json;

namespace {

constexpr double kTolerance = 1e-9;

// ---------------------------------------------------------------------

/// A ResNet-18 of width 8 with an expander 24-24-16.
struct Model {
  nn::ResNet encoder = nn::resnet18({.width = 8, .stem = nn::Stem::cifar});
  nn::Sequential expander = ssl::make_expander(64, {.layers = {24, 24, 16}});

  Model() {
    encoder.to(DType::f64);
    expander.to(DType::f64);
    golden::fill(encoder, "encoder.");
    golden::fill(expander, "expander.");
  }

  std::vector<nn::NamedTensor> parameters() {
    return join(encoder.named_parameters(), expander.named_parameters());
  }
  std::vector<nn::NamedTensor> buffers() {
    return join(encoder.named_buffers(), expander.named_buffers());
  }

 private:
  static std::vector<nn::NamedTensor> join(std::vector<nn::NamedTensor> a,
                                           std::vector<nn::NamedTensor> b) {
    for (nn::NamedTensor& t : a) t.name = "encoder." + t.name;
    for (nn::NamedTensor& t : b) {
      t.name = "expander." + t.name;
      a.push_back(t);
    }
    return a;
  }
};

struct Step {
  Tensors embeddings;
  ssl::ObjectiveOutput output;
};

Step forward(Model& model, const json& file, int step) {
  std::vector<std::int64_t> shape = file.at("image");
  shape.insert(shape.begin(), file.at("batch").get<std::int64_t>());
  const Tensor image = golden::uniform(fmt::format("step{}/image", step), Dims(shape), DType::f64);
  Step result;
  for (int view = 0; view < 2; ++view) {
    const Tensor noise = golden::uniform(fmt::format("step{}/noise{}", step, view), Dims(shape),
                                         DType::f64, 0, 0.25);
    result.embeddings.push_back(model.expander(model.encoder(image + noise)));
  }
  result.output = ssl::Vicreg({})(result.embeddings);
  return result;
}

std::unique_ptr<nn::Optimizer> make_optimizer(const std::string& kind, const json& options,
                                              const nn::ParameterList& parameters) {
  const double momentum = options.value("momentum", 0.0);
  const double decay = options.value("weight_decay", 0.0);
  const auto betas = options.value("betas", std::array{0.9, 0.999});
  if (kind == "SGD") {
    return std::make_unique<nn::SGD>(parameters,
                                     nn::SGDOptions{.momentum = momentum,
                                                    .weight_decay = decay,
                                                    .nesterov = options.value("nesterov", false)});
  }
  if (kind == "LARS") {
    return std::make_unique<nn::LARS>(
        parameters, nn::LARSOptions{.momentum = momentum,
                                    .weight_decay = decay,
                                    .eta = options.at("eta"),
                                    .variant = options.at("clipped") ? LarsVariant::clipped
                                                                     : LarsVariant::official});
  }
  if (kind == "Adam") {
    return std::make_unique<nn::Adam>(parameters,
                                      nn::AdamOptions{.betas = betas, .weight_decay = decay});
  }
  REQUIRE(kind == "AdamW");
  return std::make_unique<nn::AdamW>(
      parameters,
      nn::AdamWOptions{.betas = betas, .eps = options.at("eps"), .weight_decay = decay});
}

void check_run(const std::string& name, const json& file) {
  const json& run = file.at("runs").at(name);
  const json& options = run.at("options");
  Model model;
  const auto parameters = model.parameters();
  const auto optimizer = make_optimizer(run.at("kind"), options, parameters);
  Tensors tensors;
  for (const nn::NamedTensor& t : parameters) tensors.push_back(t.tensor);

  const std::vector<double> rates = run.at("rates"), losses = run.at("losses");
  const double base = rates[2];
  const nn::WarmupCosine schedule({.base_lr = base,
                                   .total_steps = 10,
                                   .warmup_steps = 3,
                                   .start_lr = base / 3,
                                   .warmup_reaches_base = true});
  REQUIRE(rates.size() == 10);
  for (int step = 0; step < 10; ++step) {
    golden::compare(fmt::format("{}: rate of step {}", name, step), schedule.lr(step), rates[step],
                    1e-14);
    optimizer->set_lr(rates[step]);
    optimizer->zero_grad();
    const Tensor loss = forward(model, file, step).output.loss;
    golden::compare(fmt::format("{}: loss of step {}", name, step), loss.item(), losses[step],
                    kTolerance);
    loss.backward();
    if (options.contains("max_norm")) {
      const Tensor norm = nn::clip_grad_norm_(tensors, options.at("max_norm"));
      golden::compare(fmt::format("{}: gradient norm of step {}", name, step), norm.item(),
                      run.at("norms")[step], kTolerance);
    }
    optimizer->step();
  }
  golden::compare(name + " after ten steps", parameters, run.at("parameters"), kTolerance);
}

}  // namespace

TEST_CASE("VICReg: embeddings, terms, gradients, running statistics", "[golden]") {
  const json file = golden::load("optimisers.json");
  const json& first = file.at("first_step");
  Model model;
  const Step step = forward(model, file, 0);
  step.output.loss.backward();
  for (std::size_t v = 0; v < 2; ++v) {
    golden::compare(fmt::format("embeddings of view {}", v), step.embeddings[v],
                    first.at("outputs")[v], kTolerance);
  }
  golden::compare("loss", step.output.loss.item(), first.at("terms")[0], kTolerance);
  REQUIRE(step.output.terms.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& [name, term] = step.output.terms[i];
    golden::compare(name, term.item(), first.at("terms")[i + 1], kTolerance);
  }
  golden::compare_gradients("VICReg", model.parameters(), first.at("grads"), kTolerance);
  golden::compare("VICReg", model.buffers(), first.at("running"), kTolerance);
}

TEST_CASE("ten steps of each optimiser", "[golden]") {
  const json file = golden::load("optimisers.json");
  for (const auto& run : file.at("runs").items()) check_run(run.key(), file);
}
