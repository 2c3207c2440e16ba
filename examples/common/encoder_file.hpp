#pragma once
// Trained encoders in files: what `pretrain` leaves, what `evaluate` and `embed` take.
#include <filesystem>
#include <invar/core/device.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/data/dataset.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/nn/safetensors.hpp>
#include <nlohmann/json.hpp>

namespace invar::app {

class Experiment;

struct TrainedEncoder {
  Json config;  ///< the configuration it was trained with, no images held out
  nn::ResNet encoder;
  bool averaged = false;  ///< a checkpoint's average: batch-norm's statistics are of other weights
};

/// Writes the encoder under torchvision's names, the configuration as metadata. Atomic.
void save_encoder(const std::filesystem::path& path, const nn::ResNet& encoder, const Json& config);

/// Reads a file of save_encoder, or the encoder of a checkpoint (its average if there is one).
/// Error if the file does not hold a configuration. `data`: see replace_data.
TrainedEncoder load_encoder(const std::filesystem::path& path, const std::string& data);

/// The configuration that a file of pretrain holds. Error if there is none.
Json config_of(const SafetensorsFile& file);

/// Of the images that an encoder of this state takes. Error, naming the file, if it is none.
int channels_of(const StateDict& encoder, const std::filesystem::path& path);

/// Replaces the configuration's data set unless `data` is empty: the programs' option --data.
void replace_data(Json& config, const std::string& data);

/// Error unless the encoder takes images of this data set.
void check_channels(const TrainedEncoder& trained, const Dataset& images);

/// Measures batch-norm's statistics anew, on at most 10,000 of the training images under the test
/// view: what an average of weights needs before it is of use. The same bits wherever it is called.
void refresh_batch_norm(nn::ResNet& encoder, const DatasetPtr& train, const Experiment& experiment,
                        Device device);

/// The same for an averaged encoder that `program` has loaded, and says so; nothing for others.
void refresh_if_averaged(const char* program, TrainedEncoder& trained, const DatasetPtr& train,
                         const Experiment& experiment, Device device);

}  // namespace invar::app
