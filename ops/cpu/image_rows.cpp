#include <invar/core/integers.hpp>
#include <invar/ops/cpu/image_rows.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/machine.hpp>

namespace invar::cpu {
namespace {

constexpr std::int64_t kLeastColumns = 64;  // of a wide image

/// Both forms of x as [N / images, images, H, W, C].
Tensor images_of(const Tensor& x, std::int64_t images) {
  const Dims &n = x.shape(), &s = x.strides();
  return alias(x, {n[0] / images, images, n[1], n[2], n[3]},
               {images * s[0], s[0], s[1], s[2], s[3]}, x.offset());
}
Tensor images_of_row(const Tensor& wide, std::int64_t images, std::int64_t pitch,
                     std::int64_t width) {
  const Dims &n = wide.shape(), &s = wide.strides();
  return alias(wide, {n[0], images, n[1], width, n[3]}, {s[0], pitch * s[2], s[1], s[2], s[3]},
               wide.offset());
}

}  // namespace

Tensor ImageRows::room(const Tensor& x, std::int64_t pitch) const {
  const Dims& s = x.shape();
  return empty({s[0] / images, s[1], images * pitch, s[3]}, x.options());
}

Tensor ImageRows::pack(const Tensor& x, std::int64_t pitch) const {
  Tensor wide = room(x, pitch);
  fill(0, wide);
  copy(images_of(x, images), images_of_row(wide, images, pitch, x.shape()[2]));
  return wide;
}

void ImageRows::unpack(const Tensor& wide, std::int64_t pitch, const Tensor& out) const {
  copy(images_of_row(wide, images, pitch, out.shape()[2]), images_of(out, images));
}

// A wide image is padded as a narrow one is, so it has images x_pitch columns of x and
// (images x_pitch + 2 padding - kernel) / stride + 1 of y, rounded down. That is images y_pitch iff
// kernel - stride <= 2 padding < kernel, and then an image's own columns of y are no more than
// y_pitch.
std::optional<ImageRows> image_rows(const Dims& x, const Dims& weight, const Conv2dOptions& o) {
  const std::int64_t kernel = weight[2], stride = o.stride.width, padding = o.padding.width;
  if (kernel == 1) return {};  // sees no neighbours: oneDNN takes all pixels for one row
  if (o.dilation.width != 1 || 2 * padding >= kernel || 2 * padding < kernel - stride) return {};
  const std::int64_t y_pitch = ceil_div(x[2] + padding, stride), x_pitch = stride * y_pitch;
  const std::int64_t fewest = ceil_div(kLeastColumns, x_pitch);
  for (std::int64_t images = fewest; images <= 4 * fewest; ++images) {
    if (x[0] % images == 0) return ImageRows{images, x_pitch, y_pitch};
  }
  return {};
}

bool prefers_image_rows(ConvPass pass, DType dtype, std::int64_t width) {
  if (dtype != DType::bf16 || !has_amx()) return false;
  return width <= (pass == ConvPass::backward_weight ? 8 : 4);
}

}  // namespace invar::cpu
