// embed: the features of every image of a data set, as NumPy files.
//
//   embed runs/first/encoder.safetensors --out features
//   embed runs/first/encoder.safetensors --out mine --data "$(cat mine.json)"
//
// Writes features.npy [n, d] f32 and, if the data has labels, labels.npy [n] i64, in the order of
// the data set, and classes.txt, the name of each label on a line.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <invar/core/file.hpp>
#include <invar/core/version.hpp>
#include <invar/data/npy.hpp>

#include "common/encoder_file.hpp"
#include "common/experiment.hpp"
#include "common/process.hpp"
#include "common/scoring.hpp"

using namespace invar;

int main(int argc, char** argv) {
  app::settle_process();
  CLI::App app("The features of every image of a data set, as NumPy files.");
  std::string file, data, out, split = "test", device_name = "cpu";
  app.set_version_flag("--version", std::string(version()));
  app.add_option("file", file, "encoder.safetensors or a checkpoint")->required();
  app.add_option("--out", out, "folder for features.npy, labels.npy and classes.txt")->required();
  app.add_option("--data", data, "data set as JSON; default: the one it was trained on");
  app.add_option("--split", split, "train or test")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  app.add_option("--device", device_name, "cpu, cuda or cuda:N")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    const Device device = app::usable_device(device_name);
    app::TrainedEncoder trained = app::load_encoder(file, data);
    trained.encoder.to(device);
    const app::Experiment experiment(trained.config);
    const DatasetPtr images = experiment.load(split == "train" ? Split::train : Split::test);
    app::check_channels(trained, *images);
    if (trained.averaged) {
      const DatasetPtr train = split == "train" ? images : experiment.load(Split::train);
      app::refresh_if_averaged("embed", trained, train, experiment, device);
    }
    create_folder("embed", out);
    const auto embedded =
        app::features_of(trained.encoder, images, experiment.test_view, "features", device);
    write_npy(std::filesystem::path(out) / "features.npy", embedded.features);
    const std::filesystem::path labels = std::filesystem::path(out) / "labels.npy",
                                classes = std::filesystem::path(out) / "classes.txt";
    if (images->classes().empty()) {
      std::filesystem::remove(labels);  // of other images that were embedded here
      std::filesystem::remove(classes);
    } else {
      write_npy(labels, embedded.labels);
      // A folder's test images may lack a class: then the same number means another one.
      write_file_atomically(classes, fmt::format("{}\n", fmt::join(images->classes(), "\n")));
    }
    fmt::print("wrote features {} to {}\n", embedded.features.shape(), out);
  } catch (const std::exception& error) {
    app::tell("embed: {}", error.what());
    return 1;
  }
}
