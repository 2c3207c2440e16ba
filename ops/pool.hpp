#pragma once
// Pooling of images [N, H, W, C] over windows of rows and columns, each channel by itself.
//
// Arguments have PyTorch's names: `stride` is the kernel unless given; `padding` surrounds the
// image on all sides and is at most half of the kernel, so that every window touches the image. The
// output has floor((H + 2 padding - kernel) / stride) + 1 rows, columns likewise. Any floating
// dtype; gradients of any order.
#include <invar/core/tensor.hpp>
#include <invar/ops/window.hpp>
#include <optional>

namespace invar {

/// The largest element of each window. A NaN wins; of equal ones the first (in row-major order)
/// gets the gradient.
Tensor max_pool2d(const Tensor& x, Size2 kernel, std::optional<Size2> stride = {},
                  Size2 padding = 0);

/// The mean over each window: the sum of the elements inside of the image, divided by the size of
/// the window, padding counted or not.
Tensor avg_pool2d(const Tensor& x, Size2 kernel, std::optional<Size2> stride = {},
                  Size2 padding = 0, bool count_include_pad = true);

// Adaptive: `output` windows that cover the image. Row i of them is rows floor(i H / output) to
// ceil((i + 1) H / output) - 1 of x; output 1 pools whole images.
Tensor adaptive_max_pool2d(const Tensor& x, Size2 output);
Tensor adaptive_avg_pool2d(const Tensor& x, Size2 output);

}  // namespace invar
