#include <invar/ops/image.hpp>
#include <invar/ops/in_place.hpp>
#include <invar/ops/kernels.hpp>

namespace invar {
namespace {

void check_params(const char* op, const Tensor& params, std::int64_t batch) {
  check(params.dtype() == DType::f32 && params.dim() == 2 && params.size(0) == batch, op,
        "expected parameters f32 [{}, P], got {} {}", batch, params.dtype(), params.shape());
}

/// Height and width after a step.
struct SizeAfter {
  std::int64_t height, width;
};

SizeAfter size_after(const ImageStep& step, std::int64_t height, std::int64_t width) {
  if (const auto* const resized = std::get_if<image_steps::ResizedCrop>(&step)) {
    return {resized->height, resized->width};
  }
  if (const auto* const cropped = std::get_if<image_steps::CenterCrop>(&step)) {
    check(cropped->height <= height && cropped->width <= width, "image_step",
          "expected images of at least {} x {} pixels, got {} x {}", cropped->height,
          cropped->width, height, width);
    return {cropped->height, cropped->width};
  }
  return {height, width};
}

}  // namespace

Tensor sample_images(const StoredImages& stored, const Tensor& indices,
                     const image_steps::ResizedCrop& step, const Tensor& params) {
  constexpr const char* kOp = "sample_images";
  const Device device =
      common_device(kOp, {stored.bytes, stored.offsets, stored.sizes, indices, params});
  check(indices.dtype() == DType::i64 && indices.dim() == 1, kOp,
        "expected the images' numbers as i64 [B], got {} {}", indices.dtype(), indices.shape());
  check_params(kOp, params, indices.size(0));
  const Tensor out = empty({indices.size(0), step.height, step.width, stored.channels},
                           {.dtype = DType::f32, .device = device});
  kernel(&Kernels::sample_images, device, kOp)(stored, indices, step, params, out);
  return out;
}

Tensor image_step(const Tensor& images, const ImageStep& step, const Tensor& params) {
  constexpr const char* kOp = "image_step";
  const Device device = common_device(kOp, {images, params});
  check(images.dtype() == DType::f32 && images.dim() == 4 && images.is_contiguous() &&
            (images.size(3) == 1 || images.size(3) == 3),
        kOp, "expected dense f32 images [B,H,W,1] or [B,H,W,3], got {} {}", images.dtype(),
        images.shape());
  check_in_place(images, false, kOp);
  check_params(kOp, params, images.size(0));
  const auto [height, width] = size_after(step, images.size(1), images.size(2));
  const bool new_size = height != images.size(1) || width != images.size(2) ||
                        std::holds_alternative<image_steps::ResizedCrop>(step);
  const Tensor out =
      new_size ? empty({images.size(0), height, width, images.size(3)}, images.options()) : images;
  kernel(&Kernels::image_step, device, kOp)(step, params, images, out);
  if (!new_size) out.bump_version();
  return out;
}

}  // namespace invar
