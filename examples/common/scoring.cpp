#include "scoring.hpp"

#include <algorithm>
#include <cmath>
#include <invar/core/progress.hpp>
#include <invar/data/loader.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <optional>

namespace invar::app {

Tensor in_chunks(const std::function<Tensor(const Tensor&)>& f, const Tensor& images,
                 std::int64_t chunk) {
  Tensors parts;
  for (std::int64_t at = 0; at < images.size(0); at += chunk) {
    parts.push_back(f(narrow(images, 0, at, std::min(chunk, images.size(0) - at))));
  }
  return cat(parts, 0);
}

ssl::LabelledFeatures features_of(nn::Module& encoder, const DatasetPtr& images,
                                  const Pipeline& view, const std::string& label, Device device) {
  constexpr std::int64_t kBatch = 500;
  Loader loader(images, {view},
                {.batch_size = kBatch, .shuffle = false, .drop_last = false, .epochs = 1});
  Progress progress(label, "images", images->size());
  std::int64_t done = 0;
  auto features = ssl::extract_features(encoder, [&]() -> std::pair<Tensor, Tensor> {
    progress.update(done);
    if (loader.done()) return {};
    Batch batch = loader.next();
    done += batch.labels.numel();
    return {to(batch.views[0], device), to(batch.labels, device)};
  });
  progress.finish();
  const auto finite = static_cast<std::int64_t>(sum(all(isfinite(features.features), {1})).item());
  check(finite == images->size(), "evaluation",
        "expected finite features, got NaN or infinity in those of {} of {} images: the encoder's "
        "weights are damaged, or its training diverged",
        images->size() - finite, images->size());
  return features;
}

void check_options(const ssl::KnnOptions& knn, const ssl::LinearProbeOptions& linear) {
  const auto is_positive = [](double x) { return x > 0 && std::isfinite(x); };
  check(knn.k >= 1 && is_positive(knn.temperature), "evaluation",
        "expected k >= 1 and temperature > 0, got {} and {}", knn.k, knn.temperature);
  check(linear.epochs >= 1 && is_positive(linear.lr), "evaluation",
        "expected a linear probe of at least 1 epoch and a learning rate > 0, got {} and {}",
        linear.epochs, linear.lr);
}

void check_classes(const Dataset& train, const Dataset& test) {
  check(
      !test.classes().empty(), "evaluation",
      "expected test images with labels, as the training images have them, got none: put them into "
      "folders of classes, or have training images held out (evaluation.held_out)");
  for (std::size_t i = 0; i < test.classes().size(); ++i) {
    const bool known = i < train.classes().size();
    check(known && train.classes()[i] == test.classes()[i], "evaluation",
          "expected one list of classes for training and test images, class {} is \"{}\" in "
          "training and \"{}\" in test",
          i, known ? train.classes()[i] : "none", test.classes()[i]);
  }
}

Scores score(const ssl::LabelledFeatures& train, const ssl::LabelledFeatures& test,
             std::int64_t classes, ssl::KnnOptions knn, ssl::LinearProbeOptions linear,
             const std::string& prefix) {
  std::optional<Progress> progress;
  const auto shown_as = [&](const char* label) {
    return [&progress, label = prefix + label](std::int64_t done, std::int64_t total) {
      if (!progress) progress.emplace(label, "images", total);
      progress->update(done);
      if (done == total) progress->finish();
    };
  };
  knn.progress = shown_as("kNN");
  linear.progress = shown_as("linear probe");
  Scores scores;
  scores.knn = ssl::knn_accuracy(train, test, classes, knn);
  progress.reset();
  scores.linear = ssl::linear_probe(train, test, classes, linear);
  return scores;
}

}  // namespace invar::app
