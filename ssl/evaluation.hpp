#pragma once
// How good are frozen features? Two standard answers, on features [n, d] (f32) and labels [n]
// (i64):
//
//   knn_accuracy    weighted k-nearest neighbours by cosine similarity; nothing is trained
//   linear_probe    a linear classifier trained on standardised features
//
// Both return the accuracy on the test set in percent. Nothing is selected on the test set.
#include <cstdint>
#include <functional>
#include <invar/core/tensor.hpp>
#include <invar/nn/module.hpp>

namespace invar::ssl {

struct LabelledFeatures {
  Tensor features;  ///< [n, d], f32
  Tensor labels;    ///< [n], i64
};

/// Features of all images under `encoder`, in batches; the module is put into eval mode for the
/// duration and nothing is recorded. `images` yields batch after batch ([b, H, W, C], labels [b])
/// and an undefined pair at the end.
LabelledFeatures extract_features(nn::Module& encoder,
                                  const std::function<std::pair<Tensor, Tensor>()>& images);

/// Told how many images of how many are done: 0 at the beginning, all at the end.
using EvaluationProgress = std::function<void(std::int64_t done, std::int64_t total)>;

struct KnnOptions {
  std::int64_t k = 20;
  double temperature = 0.07;
  EvaluationProgress progress = {};  ///< of the test images
};

/// Each test sample is given the class with the largest sum of exp(s_i / T) over its k most similar
/// training samples, s_i the cosine similarities. Ties go to the smaller class.
double knn_accuracy(const LabelledFeatures& train, const LabelledFeatures& test,
                    std::int64_t classes, const KnnOptions& options = {});

struct LinearProbeOptions {
  int epochs = 30;
  std::int64_t batch_size = 1000;  ///< an incomplete last one is left out
  double lr = 1e-2;                ///< AdamW, cosine to 0 over all steps
  double weight_decay = 1e-4;
  std::uint64_t seed = 0;            ///< of the order of the samples and of the initial weights
  EvaluationProgress progress = {};  ///< of the training images of all epochs
};

double linear_probe(const LabelledFeatures& train, const LabelledFeatures& test,
                    std::int64_t classes, const LinearProbeOptions& options = {});

}  // namespace invar::ssl
