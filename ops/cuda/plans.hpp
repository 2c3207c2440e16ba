#pragma once
// What cuDNN would compute a convolution by, on a GPU that need not be here: its heuristics look at
// a description alone (cuDNN 9.8 and later). Only in a build with CUDA.
#include <invar/core/dtype.hpp>
#include <invar/core/shape.hpp>
#include <invar/ops/conv.hpp>
#include <string>
#include <vector>

namespace invar::cuda {

struct ConvPlan {
  std::string problem;        ///< conv2d or one of its two gradients, with shapes and dtypes
  std::string name;           ///< cuDNN's, of the plan; empty: it has none
  std::string reason;         ///< cuDNN's words if it has none
  std::size_t workspace = 0;  ///< bytes
  bool rounded = false;       ///< a gradient of a bf16 weight that cuDNN cannot write as f32
};

/// The plans for conv2d of x [N, H, W, C] with weight [O, kh, kw, C / groups] and for its
/// gradients, chosen as a GPU's are under the settings of the moment (settings.hpp), without
/// timing. `device` is cuDNN's JSON of a GPU (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION); Error if
/// it is none. Plans that cuDNN compiles at run time are left out where there is no driver.
std::vector<ConvPlan> conv_plans(const std::string& device, const Dims& x, const Dims& weight,
                                 const Conv2dOptions& options, DType dtype);

}  // namespace invar::cuda
