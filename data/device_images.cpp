#include <invar/data/device_images.hpp>
#include <invar/data/transforms.hpp>
#include <invar/ops/convert.hpp>

namespace invar {
namespace {

template <class T>
Tensor on_device(std::vector<T>& values, const Dims& shape, Device gpu) {
  return to(from_blob(values.data(), shape, {.dtype = dtype_of<T>}), gpu);
}

}  // namespace

DeviceImages::DeviceImages(const Dataset& dataset, Device gpu) {
  std::vector<std::uint8_t> bytes;
  std::vector<std::int64_t> offsets;
  std::vector<std::int32_t> sizes;
  bytes.reserve(static_cast<std::size_t>(dataset.size()) * dataset.shape().size());
  const ImageShape promised = dataset.shape();
  Sample sample;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    dataset.read(i, sample);
    const Image& image = sample.image;
    offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    sizes.insert(sizes.end(), {image.shape.height, image.shape.width});
    check_image("DeviceImages", image);
    ImageShape expected = promised;
    if (!is_known(promised)) expected = {image.shape.height, image.shape.width, promised.channels};
    check(image.shape == expected, "DeviceImages",
          "expected images [{},{},{}], as Dataset::shape() says, got [{},{},{}]", promised.height,
          promised.width, promised.channels, image.shape.height, image.shape.width,
          image.shape.channels);
    bytes.insert(bytes.end(), image.pixels.begin(), image.pixels.end());
    shapes_.push_back(image.shape);
    labels_.push_back(sample.label);
  }
  const std::int64_t n = dataset.size();
  stored_ = {on_device(bytes, {static_cast<std::int64_t>(bytes.size())}, gpu),
             on_device(offsets, {n}, gpu), on_device(sizes, {n, 2}, gpu), dataset.shape().channels};
}

}  // namespace invar
