// evaluate: how good is a trained encoder? kNN and linear-probe accuracy on labelled data, as JSON.
//
//   evaluate runs/first/encoder.safetensors
//   evaluate runs/first/encoder.safetensors --data '{"name": "cifar10", "root": "..."}'
//
// The test view is the one that the encoder was trained with, and so are the data and the settings
// of the evaluation unless given.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <invar/core/file.hpp>
#include <invar/core/version.hpp>
#include <optional>

#include "common/encoder_file.hpp"
#include "common/experiment.hpp"
#include "common/process.hpp"
#include "common/run_directory.hpp"
#include "common/scoring.hpp"

using namespace invar;

int main(int argc, char** argv) {
  app::settle_process();
  CLI::App app("kNN and linear-probe accuracy of a trained encoder.");
  std::string file, data, out, device_name = "cpu";
  std::optional<std::int64_t> k;
  std::optional<int> epochs;
  std::optional<double> temperature, lr;
  std::uint64_t seed = ssl::LinearProbeOptions().seed;
  app.set_version_flag("--version", std::string(version()));
  app.add_option("file", file, "encoder.safetensors or a checkpoint")->required();
  app.add_option("--data", data, "data set as JSON; default: the one it was trained on");
  app.add_option("--device", device_name, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--k", k, "neighbours; default, as of the next three: the training's setting");
  app.add_option("--temperature", temperature, "of the neighbours' weights");
  app.add_option("--epochs", epochs, "of the linear probe");
  app.add_option("--lr", lr, "of the linear probe");
  app.add_option("--seed", seed, "of the linear probe")
      ->check(app::seed_error)
      ->capture_default_str();
  app.add_option("--out", out, "write the JSON result here too");
  CLI11_PARSE(app, argc, argv);
  try {
    app::check_utf8("FILE", file);
    if (!out.empty()) app::check_writable("--out", out);
    const Device device = app::usable_device(device_name);
    app::TrainedEncoder trained = app::load_encoder(file, data);
    trained.encoder.to(device);
    const app::Experiment experiment(trained.config);
    ssl::KnnOptions knn = experiment.evaluation.knn;
    ssl::LinearProbeOptions linear = experiment.evaluation.linear;
    knn.k = k.value_or(knn.k);
    knn.temperature = temperature.value_or(knn.temperature);
    linear.epochs = epochs.value_or(linear.epochs);
    linear.lr = lr.value_or(linear.lr);
    linear.seed = seed;
    app::check_options(knn, linear);
    const DatasetPtr train = experiment.load(Split::train), test = experiment.load(Split::test);
    check(!train->classes().empty(), "evaluate", "expected labelled data, got none");
    app::check_classes(*train, *test);
    app::check_channels(trained, *train);
    app::refresh_if_averaged("evaluate", trained, train, experiment, device);
    const auto features = [&](const DatasetPtr& images, const char* label) {
      return app::features_of(trained.encoder, images, experiment.test_view, label, device);
    };
    const ssl::LabelledFeatures known = features(train, "train features"),
                                asked = features(test, "test features");
    const app::Scores scores = app::score(
        known, asked, static_cast<std::int64_t>(train->classes().size()), knn, linear, "");
    const Json result = {{"file", file},
                         {"data", trained.config["data"]},
                         {"train_images", train->size()},
                         {"test_images", test->size()},
                         {"k", knn.k},
                         {"temperature", knn.temperature},
                         {"linear_epochs", linear.epochs},
                         {"knn", scores.knn},
                         {"linear", scores.linear}};
    fmt::print("{}\n", result.dump(2));
    const bool printed = std::fflush(stdout) == 0;
    const int error = errno;
    if (!out.empty()) write_file_atomically(out, result.dump(2) + "\n");
    check(printed, "evaluate", "expected to print the result, got \"{}\"", std::strerror(error));
  } catch (const std::exception& error) {
    app::tell("evaluate: {}", error.what());
    return 1;
  }
}
