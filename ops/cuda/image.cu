// Augmentation: a launch per step for the whole batch, a thread per pixel.
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/launch.cuh>
#include <invar/ops/functors/image.hpp>
#include <type_traits>

namespace invar::cuda {
namespace {

using functors::ImageBatch;
using functors::ImageParams;

ImageBatch batch_of(const Tensor& images) {
  return {images.data<float>(), static_cast<int>(images.size(1)), static_cast<int>(images.size(2)),
          static_cast<int>(images.size(3))};
}

ImageParams rows_of(const Tensor& params) {
  return {params.data<const float>(), params.strides()[0]};
}

std::int64_t pixels_of(const Tensor& images) {
  return images.size(0) * images.size(1) * images.size(2);
}

template <class Source>
void resize(const char* op, const Source& in, const image_steps::ResizedCrop& step,
            const Tensor& params, const Tensor& out) {
  for_each(
      op, out, pixels_of(out),
      functors::ResizeCrop<Source>{in, rows_of(params), step.whole,
                                   step.interpolation == Interpolation::bicubic, batch_of(out)});
}

/// A step on its way through the visit of image_step.
struct Images {
  const Tensor &params, &in, &out;
  static constexpr const char* kOp = "image_step";

  void operator()(const image_steps::ResizedCrop& step) const {
    resize(kOp, batch_of(in), step, params, out);
  }
  void operator()(const image_steps::CenterCrop& step) const {
    if (in.shape() == out.shape()) return;
    const int top = functors::center_offset(static_cast<int>(in.size(1)), step.height);
    const int left = functors::center_offset(static_cast<int>(in.size(2)), step.width);
    for_pixels(functors::CropImages{batch_of(in), batch_of(out), top, left});
  }
  void operator()(image_steps::HorizontalFlip) const {
    for_each(kOp, out, out.size(0) * out.size(1) * (out.size(2) / 2),
             functors::FlipImages{batch_of(out), rows_of(params)});
  }
  void operator()(const image_steps::ColorJitter& step) const {
    int parts = 0;
    for (int k = 0; k < 4; ++k) parts |= step.parts[static_cast<std::size_t>(k)] ? 1 << k : 0;
    const Scratch<float> means(out, out.size(0));
    const auto along = functors::plan_fold(pixel_numbers(), {out.size(0), 1});
    fold(kOp, out, along,
         functors::ContrastMean{batch_of(out), rows_of(params), parts, means.data()});
    for_pixels(functors::JitterImages{batch_of(out), rows_of(params), parts, means.data()});
  }
  void operator()(image_steps::Grayscale) const {
    if (out.size(3) == 3) for_pixels(functors::GrayImages{batch_of(out), rows_of(params)});
  }
  void operator()(const image_steps::GaussianBlur& step) const {
    const Scratch<float> weights(out, out.size(0) * step.kernel_size);
    const Tensor half_done = empty(out.shape(), out.options());
    for_each(kOp, out, out.size(0),
             functors::BlurWeights{rows_of(params), step.kernel_size, weights.data()});
    for (const bool down : {true, false}) {
      for_pixels(functors::BlurImages{batch_of(down ? out : half_done), rows_of(params),
                                      step.kernel_size, weights.data(), down,
                                      batch_of(down ? half_done : out)});
    }
  }
  void operator()(const image_steps::Solarize& step) const {
    for_pixels(functors::SolarizeImages{batch_of(out), rows_of(params), step.threshold});
  }
  void operator()(const image_steps::Erase& step) const {
    const auto& v = step.value;
    for_pixels(
        functors::EraseImages{batch_of(out), rows_of(params), step.noise, {v[0], v[1], v[2]}});
  }
  void operator()(const image_steps::Normalize& step) const {
    functors::NormalizeImages f{batch_of(out), {}, {}};
    for (std::size_t c = 0; c < 3; ++c) {
      f.mean[c] = step.mean[c];
      f.scale[c] = 1.0f / step.std[c];
    }
    for_pixels(f);
  }

 private:
  template <class F>
  void for_pixels(const F& f) const {
    for_each(kOp, out, pixels_of(out), f);
  }
  /// [B, H W] whose offsets are the numbers of the pixels: only its geometry is used.
  Tensor pixel_numbers() const {
    const std::int64_t pixels = out.size(1) * out.size(2);
    return alias(out, {out.size(0), pixels}, {pixels, 1}, 0);
  }
};

}  // namespace

void sample_images(const StoredImages& stored, const Tensor& indices,
                   const image_steps::ResizedCrop& step, const Tensor& params, const Tensor& out) {
  const functors::StoredBatch batch{
      stored.bytes.data<const std::uint8_t>(), stored.offsets.data<const std::int64_t>(),
      stored.sizes.data<const std::int32_t>(), indices.data<const std::int64_t>(), stored.channels};
  resize("sample_images", batch, step, params, out);
}

void image_step(const ImageStep& step, const Tensor& params, const Tensor& in, const Tensor& out) {
  std::visit(Images{params, in, out}, step);
}

}  // namespace invar::cuda
