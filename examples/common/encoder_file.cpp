#include "encoder_file.hpp"

#include <invar/nn/checkpoint.hpp>

#include "experiment.hpp"

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
  const auto config = file.metadata().find(kConfig);
  check(config != file.metadata().end(), "load_encoder",
        "expected a checkpoint or encoder of pretrain, got '{}' without its configuration",
        path.string());
  StateDict state;
  if (file.contains(kFirstWeight)) {
    state = nn::read_model(path);
  } else if (file.contains(std::string("ema/") + kFirstWeight)) {
    state = nn::read_model(path, /*ema=*/true);
  } else {
    state = nn::select(nn::read_model(path), "encoder.");
  }
  const auto first = state.find(kFirstWeight);
  check(first != state.end() && first->second.dim() == 4, "load_encoder",
        "expected an encoder with a weight \"{}\", got none in '{}'", kFirstWeight, path.string());
  const Json json = parse_json(config->second, path.string());
  TrainedEncoder trained{json,
                         Experiment(json).make_encoder(static_cast<int>(first->second.size(1)))};
  trained.encoder.load_state_dict(state);
  trained.encoder.eval();
  if (!data.empty()) {
    trained.config["data"] = parse_json(data, "--data");
    check(trained.config["data"].is_object(), "--data", "expected a JSON object, got {}", data);
  }
  return trained;
}

}  // namespace invar::app
