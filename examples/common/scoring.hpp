#pragma once
// kNN and linear-probe accuracy of an encoder, or of the raw pixels, on a labelled data set.
#include <functional>
#include <invar/data/dataset.hpp>
#include <invar/data/pipeline.hpp>
#include <invar/nn/module.hpp>
#include <invar/ssl/evaluation.hpp>

namespace invar::app {

/// In percent of the test images.
struct Scores {
  double knn = 0;
  double linear = 0;
};

/// f(images), `chunk` of them at a time.
Tensor in_chunks(const std::function<Tensor(const Tensor&)>& f, const Tensor& images,
                 std::int64_t chunk);

/// Features of every image under `view`, in order, with a progress line named `label`; they and
/// their labels are on `device`, where the encoder is. Error if a feature is not finite.
ssl::LabelledFeatures features_of(nn::Module& encoder, const DatasetPtr& images,
                                  const Pipeline& view, const std::string& label, Device device);

/// Error unless score() takes these options: to be asked before features are made.
void check_options(const ssl::KnnOptions& knn, const ssl::LinearProbeOptions& linear);

/// Error unless a label means the same in both: the test images' classes are the first of the
/// training images'.
void check_classes(const Dataset& train, const Dataset& test);

/// With progress lines whose labels begin with `prefix`.
Scores score(const ssl::LabelledFeatures& train, const ssl::LabelledFeatures& test,
             std::int64_t classes, ssl::KnnOptions knn, ssl::LinearProbeOptions linear,
             const std::string& prefix);

}  // namespace invar::app
