#pragma once
// DeviceImages: all images of a data set in the memory of a GPU, 8 bits per channel, for views that
// are made there (Pipeline::apply). Sizes and labels stay at hand for the CPU, which draws the
// parameters.
#include <invar/data/dataset.hpp>
#include <invar/ops/image.hpp>
#include <vector>

namespace invar {

class DeviceImages {
 public:
  /// Reads every sample once. Error for one that is not of the shape that the data set tells.
  DeviceImages(const Dataset& dataset, Device gpu);

  const StoredImages& stored() const { return stored_; }
  /// Of image i.
  ImageShape shape(std::int64_t i) const { return shapes_[static_cast<std::size_t>(i)]; }
  std::int64_t label(std::int64_t i) const { return labels_[static_cast<std::size_t>(i)]; }

 private:
  StoredImages stored_;
  std::vector<ImageShape> shapes_;
  std::vector<std::int64_t> labels_;
};

}  // namespace invar
