// evaluate: how good is a trained encoder? kNN and linear-probe accuracy on labelled data, as JSON.
//
//   evaluate runs/first/encoder.safetensors
//   evaluate runs/first/checkpoints/best.safetensors --data '{"name": "cifar10", "root": "..."}'
//
// The test view is the one that the encoder was trained with, and so are the data unless given.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <invar/core/file.hpp>

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
  ssl::KnnOptions knn;
  ssl::LinearProbeOptions linear;
  app.add_option("file", file, "encoder.safetensors or a checkpoint")->required();
  app.add_option("--data", data, "data set as JSON; default: the one it was trained on");
  app.add_option("--device", device_name, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--k", knn.k, "neighbours")->capture_default_str();
  app.add_option("--temperature", knn.temperature, "of the neighbours' weights")
      ->capture_default_str();
  app.add_option("--epochs", linear.epochs, "of the linear probe")->capture_default_str();
  app.add_option("--lr", linear.learning_rate, "of the linear probe")->capture_default_str();
  app.add_option("--seed", linear.seed, "of the linear probe")
      ->check(app::seed_error)
      ->capture_default_str();
  app.add_option("--out", out, "write the JSON result here too");
  CLI11_PARSE(app, argc, argv);
  try {
    app::check_options(knn, linear);
    app::check_utf8("FILE", file);
    if (!out.empty()) app::check_writable("--out", out);
    const Device device = app::usable_device(device_name);
    app::TrainedEncoder trained = app::load_encoder(file, data);
    trained.encoder.to(device);
    const app::Experiment experiment(trained.config);
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
