#include "encoder_file.hpp"

#include <algorithm>
#include <invar/data/loader.hpp>
#include <invar/nn/checkpoint.hpp>
#include <invar/nn/ema.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/reduce.hpp>

#include "experiment.hpp"
#include "process.hpp"

namespace invar::app {
namespace {

constexpr const char* kConfig = "config";
constexpr const char* kFirstWeight = "conv1.weight";

}  // namespace

void save_encoder(const std::filesystem::path& path, const nn::ResNet& encoder,
                  const Json& config) {
  write_safetensors(path, encoder.state_dict(), {{kConfig, config.dump()}});
}

TrainedEncoder load_encoder(const std::filesystem::path& path, const std::string& data) {
  const SafetensorsFile file(path);
  Json json = config_of(file);
  replace_data(json, data);
  StateDict state;
  const bool averaged =
      !file.contains(kFirstWeight) && file.contains(std::string("ema/") + kFirstWeight);
  if (file.contains(kFirstWeight)) {
    state = nn::read_model(path);
  } else if (averaged) {
    state = nn::read_model(path, /*ema=*/true);
  } else {
    state = nn::select(nn::read_model(path), "encoder.");
  }
  TrainedEncoder trained{json, Experiment(json).make_encoder(channels_of(state, path)), averaged};
  // Held out for choosing settings: where there are test images, an encoder is measured on these.
  if (json.contains("evaluation") && has_test_split(json["data"])) {
    trained.config["evaluation"].erase("held_out");
  }
  for (const auto& [name, values] : state) {
    check(all(isfinite(values)).item<bool>(), "load_encoder",
          "expected finite weights, got NaN or infinity in \"{}\" of '{}': the file is damaged, or "
          "the training diverged",
          name, path.string());
  }
  trained.encoder.load_state_dict(state);
  trained.encoder.eval();
  return trained;
}

Json config_of(const SafetensorsFile& file) {
  const auto config = file.metadata().find(kConfig);
  check(config != file.metadata().end(), "load_encoder",
        "expected a checkpoint or encoder of pretrain, with its configuration as JSON under "
        "\"config\" in the metadata, got '{}' without it",
        file.path().string());
  return parse_json(config->second, file.path().string());
}

int channels_of(const StateDict& encoder, const std::filesystem::path& path) {
  const auto first = encoder.find(kFirstWeight);
  check(first != encoder.end() && first->second.dim() == 4, "load_encoder",
        "expected an encoder with a weight \"{}\", got none in '{}'", kFirstWeight, path.string());
  return static_cast<int>(first->second.size(1));
}

void replace_data(Json& config, const std::string& data) {
  if (data.empty()) return;
  config["data"] = parse_json(data, "--data");
  check(config["data"].is_object(), "--data", "expected a JSON object, got {}", data);
}

void check_channels(const TrainedEncoder& trained, const Dataset& images) {
  const std::int64_t channels = trained.encoder.conv1.weight.size(3);
  check(images.shape().channels == channels, "load_encoder",
        "expected images of {} channels, as the encoder was trained on, got {}: an image_folder "
        "brings them to its \"channels\"",
        channels, images.shape().channels);
}

void refresh_batch_norm(nn::ResNet& encoder, const DatasetPtr& train, const Experiment& experiment,
                        Device device) {
  constexpr std::int64_t kBatch = 250, kBatches = 40;
  Loader loader(train, {experiment.test_view},
                {.batch_size = std::min(kBatch, train->size()),
                 .seed = experiment.seed,
                 .workers = experiment.training.workers,
                 .epochs = 1});
  std::int64_t done = 0;
  nn::update_bn(encoder, [&]() -> Tensor {
    if (loader.done() || done++ == kBatches) return {};
    return to(loader.next().views[0], device);
  });
}

void refresh_if_averaged(const char* program, TrainedEncoder& trained, const DatasetPtr& train,
                         const Experiment& experiment, Device device) {
  if (!trained.averaged) return;
  tell("{}: an average of weights: batch-norm's statistics are measured anew on training images",
       program);
  refresh_batch_norm(trained.encoder, train, experiment, device);
}

}  // namespace invar::app
