// training_loop: VICReg on Fashion-MNIST with nothing but the library, for programs of one's own
// that use an installed Invar: loader, networks, objective, optimiser, checkpoint, evaluation.
//
//   training_loop [STEPS [FOLDER]]     500 steps; in a folder it goes on from the last checkpoint
#include <cstdio>
#include <cstdlib>
#include <invar/data/loader.hpp>
#include <invar/invar.hpp>
#include <invar/ssl/evaluation.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objective.hpp>
#include <nlohmann/json.hpp>

using namespace invar;

namespace {

/// What is trained, under one name each in checkpoints.
struct Networks : nn::Module {
  nn::ResNet encoder{18, {.in_channels = 1, .width = 8, .stem = nn::Stem::cifar}};
  nn::Sequential expander = ssl::make_expander(encoder.num_features(), {.layers = {256, 256}});
  std::unique_ptr<ssl::Objective> objective = ssl::make_objective({{"name", "vicreg"}}, 256);

  Tensor forward(const Tensor& x) override { return expander(encoder(x)); }
  void members(nn::Members& m) override {
    m("encoder", encoder);
    m("expander", expander);
    m("objective", *objective);
  }
};

ssl::LabelledFeatures features_of(nn::Module& encoder, Split split, const Pipeline& view) {
  Loader loader(load_fashion_mnist(split), {view},
                {.batch_size = 500, .shuffle = false, .drop_last = false, .epochs = 1});
  return ssl::extract_features(encoder, [&]() -> std::pair<Tensor, Tensor> {
    if (loader.done()) return {};
    Batch batch = loader.next();
    return {batch.views[0], batch.labels};
  });
}

void train(std::int64_t steps, const char* folder) {
  const Json normalize = {{"name", "Normalize"}, {"mean", {0.286}}, {"std", {0.353}}};
  const Json crop = {{"name", "RandomResizedCrop"}, {"size", 20}, {"scale", {0.3, 1}}};
  const Json erase = {{"name", "RandomErasing"}, {"side", {4, 9}}};
  Loader loader(load_fashion_mnist(Split::train), make_views(Json::array({crop, erase, normalize})),
                {.batch_size = 256});

  manual_seed(0);
  Networks networks;
  nn::AdamW optimizer(networks, {.lr = 3e-3, .weight_decay = 1e-4});
  const nn::WarmupCosine schedule(
      {.base_lr = 3e-3, .total_steps = steps, .warmup_steps = steps / 10});
  const nn::CheckpointParts parts{.model = &networks, .optimizer = &optimizer};
  std::int64_t step = 0;
  if (folder) {
    const auto latest = nn::CheckpointFolder(folder).latest();
    if (latest) step = nn::load_checkpoint(*latest, parts).step;
  }
  loader.start(step / loader.steps_per_epoch(), step % loader.steps_per_epoch());

  for (; step < steps; ++step) {
    const Batch batch = loader.next();
    Tensors embeddings;
    for (const Tensor& view : batch.views) embeddings.push_back(networks(view));
    const auto [loss, terms] = (*networks.objective)(embeddings);
    optimizer.set_lr(schedule.lr(step));
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    const bool last = step + 1 == steps;
    if (step % 50 == 0 || last) std::printf("step %ld loss %.4f\n", long{step}, loss.item());
    if (folder && ((step + 1) % 100 == 0 || last)) {
      nn::CheckpointFolder(folder).save(parts, {.step = step + 1});
    }
  }

  const Pipeline view = make_pipeline(Json::array({normalize}));
  const auto known = features_of(networks.encoder, Split::train, view);
  const auto asked = features_of(networks.encoder, Split::test, view);
  std::printf("kNN %.2f %%  linear %.2f %%\n", ssl::knn_accuracy(known, asked, 10),
              ssl::linear_probe(known, asked, 10));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    train(argc > 1 ? std::atol(argv[1]) : 500, argc > 2 ? argv[2] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "training_loop: %s\n", error.what());
    return 1;
  }
}
