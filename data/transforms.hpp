#pragma once
// Transforms: random augmentations, as torchvision.transforms defines them. Pipelines of them, and
// their names in a configuration: pipeline.hpp.
//
//   Transform   draw(random numbers) -> parameters      a few floats
//               apply(canvas, parameters) -> canvas     a pure function
//
// Drawing and applying are apart so that parameters can be printed, tested with chosen values, or
// applied on a GPU: a batch of them, [B,P], to a batch of stored images, with the same effect to
// within rounding. A transform says by step() what a GPU does in its place.
//
// A transform of your own: derive from Transform; put it into a Pipeline, or into a TransformTable
// so that a JSON config can name it. Pipelines with one are applied on the CPU only.
//
// Threads: transforms do not change after construction; any number of threads may use one, each
// with a Canvas of its own.
#include <array>
#include <invar/core/philox.hpp>
#include <invar/data/pixels.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace invar {

class Transform {
 public:
  virtual ~Transform() = default;

  virtual std::string name() const = 0;
  /// How many floats `draw` writes; they name themselves in param_names, which has as many entries.
  virtual std::vector<std::string> param_names() const = 0;
  /// Shape of the result; height and width are 0 where they depend on the image. Throws Error if
  /// the transform cannot work on `in`.
  virtual ImageShape output_shape(ImageShape in) const { return in; }
  /// Writes every parameter. `in` is the shape of the image at hand.
  virtual void draw(Philox& random, ImageShape in, std::span<float> params) const = 0;
  /// Changes the image. The same canvas and parameters give the same bits.
  virtual void apply(Canvas& canvas, std::span<const float> params) const = 0;
  /// What a GPU does with the same parameters to images of shape `in` (height and width are 0 if
  /// they differ); none: only the CPU can.
  virtual std::optional<ImageStep> step(ImageShape /*in*/) const { return std::nullopt; }
};

using TransformPtr = std::shared_ptr<const Transform>;

/// False for the shape of an image that is not at hand, if the size depends on it.
inline bool is_known(ImageShape shape) { return shape.height > 0 && shape.width > 0; }

/// A closed interval to draw from.
struct Range {
  double low = 0;
  double high = 0;
};

/// A random part of the image, of area `scale` times the image's and aspect ratio (width / height)
/// `ratio`, log-uniform, resized to height x width. After ten attempts that do not fit: the largest
/// central part whose aspect ratio is allowed.
class RandomResizedCrop : public Transform {
 public:
  struct Options {
    int height = 0;
    int width = 0;
    Range scale{0.08, 1.0};
    Range ratio{3.0 / 4.0, 4.0 / 3.0};
    Interpolation interpolation = Interpolation::bilinear;
  };
  explicit RandomResizedCrop(const Options& options);

  std::string name() const override { return "RandomResizedCrop"; }
  std::vector<std::string> param_names() const override {
    return {"top", "left", "height", "width"};
  }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  Options options_;
};

/// The whole image resized to height x width; with width 0 the shorter side becomes `height` and
/// the longer one keeps the aspect ratio.
class Resize : public Transform {
 public:
  Resize(int height, int width, Interpolation interpolation = Interpolation::bilinear);

  std::string name() const override { return "Resize"; }
  std::vector<std::string> param_names() const override { return {}; }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox&, ImageShape, std::span<float>) const override {}
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  int height_, width_;
  Interpolation interpolation_;
};

/// The central height x width pixels; the image must not be smaller.
class CenterCrop : public Transform {
 public:
  CenterCrop(int height, int width);

  std::string name() const override { return "CenterCrop"; }
  std::vector<std::string> param_names() const override { return {}; }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox&, ImageShape, std::span<float>) const override {}
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  int height_, width_;
};

/// Left and right exchanged with probability p.
class RandomHorizontalFlip : public Transform {
 public:
  explicit RandomHorizontalFlip(double p = 0.5);

  std::string name() const override { return "RandomHorizontalFlip"; }
  std::vector<std::string> param_names() const override { return {"applied"}; }
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  double p_;
};

/// With probability p: brightness, contrast, saturation and hue by random factors, in random order
/// (0..3 in the parameters order_0 .. order_3, in this sequence). Factors are uniform in the range
/// given; a part that is left out does not change the image.
class ColorJitter : public Transform {
 public:
  struct Options {
    std::optional<Range> brightness;
    std::optional<Range> contrast;
    std::optional<Range> saturation;
    std::optional<Range> hue;  // within [-0.5, 0.5]
    double p = 1.0;
  };
  explicit ColorJitter(const Options& options);
  /// As torchvision's numbers: factors in [max(0, 1 - x), 1 + x], hue in [-hue, hue]; 0 leaves out.
  ColorJitter(double brightness, double contrast, double saturation, double hue, double p = 1.0);

  std::string name() const override { return "ColorJitter"; }
  std::vector<std::string> param_names() const override;
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  std::array<std::optional<Range>, 4> ranges_;
  double p_;
};

/// Grey with probability p; the number of channels stays.
class RandomGrayscale : public Transform {
 public:
  explicit RandomGrayscale(double p = 0.1);

  std::string name() const override { return "RandomGrayscale"; }
  std::vector<std::string> param_names() const override { return {"applied"}; }
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  double p_;
};

/// With probability p, blurred by a Gaussian of standard deviation sigma (in pixels), uniform in
/// the range. This is torchvision's GaussianBlur: a true Gaussian over an odd kernel_size, mirrored
/// borders. (The official VICReg code calls Pillow's, which approximates the same Gaussian by three
/// box filters and repeats the border pixel.) kernel_size 0 takes 2 ceil(3 sigma_max) + 1.
class GaussianBlur : public Transform {
 public:
  explicit GaussianBlur(Range sigma = {0.1, 2.0}, int kernel_size = 0, double p = 1.0);

  std::string name() const override { return "GaussianBlur"; }
  std::vector<std::string> param_names() const override { return {"applied", "sigma"}; }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  Range sigma_;
  int kernel_size_;
  double p_;
};

/// With probability p, pixels from `threshold` (0..255) on are inverted. Between two levels, where
/// a resized float pixel may lie, the decision is that of the nearest level.
class RandomSolarize : public Transform {
 public:
  explicit RandomSolarize(double threshold = 128, double p = 0.5);

  std::string name() const override { return "RandomSolarize"; }
  std::vector<std::string> param_names() const override { return {"applied"}; }
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  float threshold_;
  double p_;
};

/// With probability p a random rectangle is overwritten: with `value` (one number, or one per
/// channel), or with standard normal noise. The numbers are those of the place in the pipeline: 0
/// is black before Normalize and the mean after it.
///
/// The rectangle either covers `scale` of the image's area with aspect ratio (height / width)
/// `ratio`, log-uniform, nothing being erased after ten attempts that do not fit (torchvision); or,
/// given `side`, each of its sides is a uniform number of pixels in that range.
class RandomErasing : public Transform {
 public:
  struct Options {
    double p = 0.5;
    Range scale{0.02, 0.33};
    Range ratio{0.3, 3.3};
    std::optional<Range> side;
    std::vector<float> value{0.0f};
    bool noise = false;
  };
  explicit RandomErasing(const Options& options);

  std::string name() const override { return "RandomErasing"; }
  std::vector<std::string> param_names() const override {
    return {"applied", "top", "left", "height", "width", "noise"};
  }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox& random, ImageShape in, std::span<float> params) const override;
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  Options options_;
};

/// (x - mean) / std per channel, for pixels in [0, 1]; one number serves every channel.
class Normalize : public Transform {
 public:
  Normalize(std::vector<float> mean, std::vector<float> std);

  std::string name() const override { return "Normalize"; }
  std::vector<std::string> param_names() const override { return {}; }
  ImageShape output_shape(ImageShape in) const override;
  void draw(Philox&, ImageShape, std::span<float>) const override {}
  void apply(Canvas& canvas, std::span<const float> params) const override;
  std::optional<ImageStep> step(ImageShape in) const override;

 private:
  std::vector<float> mean_, std_;
};

}  // namespace invar
