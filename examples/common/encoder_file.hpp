#pragma once
// Trained encoders in files: what `pretrain` leaves, what `evaluate` and `embed` take.
#include <filesystem>
#include <invar/core/json_reader.hpp>
#include <invar/nn/resnet.hpp>
#include <nlohmann/json.hpp>

namespace invar::app {

struct TrainedEncoder {
  Json config;  ///< the configuration it was trained with
  nn::ResNet encoder;
};

/// Writes the encoder under torchvision's names, the configuration as metadata. Atomic.
void save_encoder(const std::filesystem::path& path, const nn::ResNet& encoder, const Json& config);

/// Reads a file of save_encoder, or the encoder of a checkpoint (its average if there is one).
/// Error if the file does not hold a configuration. `data`, as JSON, replaces the configuration's
/// data set unless it is empty: the programs' option --data.
TrainedEncoder load_encoder(const std::filesystem::path& path, const std::string& data);

}  // namespace invar::app
