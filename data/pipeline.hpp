#pragma once
// Pipeline: transforms one after another; makes one view of an image: Image -> f32 [H,W,C].
//
//   Pipeline crops({std::make_shared<RandomResizedCrop>(RandomResizedCrop::Options{32, 32})});
//   Pipeline views = make_pipeline(config["views"]);      // by name: TransformTable
//
// Random numbers: the parameters of transform number t in view v of sample i in epoch e come from
// Philox(seed, stream = (v + 1, e, i), offset = t 2^32), and from nothing else. So they depend
// neither on threads and batches nor on the other transforms: switching the jitter off leaves the
// crops as they were.
//
// Threads: as transforms, pipelines do not change after construction.
#include <cstdint>
#include <functional>
#include <invar/core/json_reader.hpp>
#include <invar/core/tensor.hpp>
#include <invar/data/transforms.hpp>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace invar {

/// Which random numbers a view gets. Bounds: epoch < 2^24, index < 2^32, view < 255.
struct ViewKey {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t index = 0;
  int view = 0;
};

class Pipeline {
 public:
  Pipeline() = default;
  explicit Pipeline(std::vector<TransformPtr> transforms);

  /// Shape of a view of an image of shape `in`. Error if a transform does not accept it, or if
  /// views would differ in size.
  ImageShape output_shape(ImageShape in) const;

  /// Floats per view, the transforms' parameters in order.
  int param_count() const { return param_count_; }
  /// "ColorJitter.hue", ...
  std::vector<std::string> param_names() const;

  /// Draws the parameters of one view of an image of shape `in`.
  void draw(const ViewKey& key, ImageShape in, std::span<float> params) const;
  /// Makes the view with these parameters: f32 [H,W,C], of `output_shape(image.shape)`.
  void apply(const Image& image, std::span<const float> params, Canvas& canvas,
             std::span<float> out) const;

  /// The name of the first transform that a GPU cannot do for images of shape `in`.
  std::optional<std::string> cpu_only(ImageShape in) const;
  /// Makes a batch of views on a GPU, f32 [B,H,W,C]: of the stored images with these numbers (i64
  /// [B]) and parameters (f32 [B,P]), which are there. `in`: the shape of all of them, or with a
  /// height and width of 0. Error if a transform is for the CPU only.
  Tensor apply(const StoredImages& stored, ImageShape in, const Tensor& indices,
               const Tensor& params) const;

  const std::vector<TransformPtr>& transforms() const { return transforms_; }

 private:
  void check_params(std::size_t count) const;

  std::vector<TransformPtr> transforms_;
  std::vector<std::size_t> param_sizes_;
  int param_count_ = 0;
};

/// Makes a transform from its JSON object; reads its keys, but need not call finish.
using TransformMaker = std::function<TransformPtr(JsonReader&)>;
using TransformTable = std::map<std::string, TransformMaker>;

/// Those of transforms.hpp, by name.
const TransformTable& builtin_transforms();

/// A pipeline from a JSON list, with torchvision's names and keys:
///
///   [{"name": "RandomResizedCrop", "size": 32, "scale": [0.2, 1], "ratio": [0.75, 1.3333333],
///     "interpolation": "bicubic"},
///    {"name": "RandomHorizontalFlip", "p": 0.5},
///    {"name": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
///     "p": 0.8},
///    {"name": "RandomGrayscale", "p": 0.2},
///    {"name": "GaussianBlur", "sigma": [0.1, 2], "kernel_size": 0, "p": 0.5},
///    {"name": "RandomSolarize", "threshold": 128, "p": 0.1},
///    {"name": "RandomErasing", "p": 0.5, "scale": [0.02, 0.33], "ratio": [0.3, 3.3], "value": 0},
///    {"name": "RandomErasing", "p": 0.5, "side": [6, 12], "value": "random"},
///    {"name": "Resize", "size": [36, 36]}, {"name": "CenterCrop", "size": 32},
///    {"name": "Normalize", "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.243, 0.261]}]
///
/// A size is one number or [height, width] (Resize: one number is the shorter side). Unknown names
/// and keys are an Error that names the nearest one that exists. `extra` adds transforms of your
/// own.
Pipeline make_pipeline(const Json& config, const TransformTable& extra = {});

/// One pipeline per view from a list of pipelines, or one pipeline for each of two views.
std::vector<Pipeline> make_views(const Json& config, const TransformTable& extra = {});

}  // namespace invar
