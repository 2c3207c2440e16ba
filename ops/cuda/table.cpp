#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/table.hpp>

namespace invar::cuda {

const Kernels& table() {
  static constexpr Kernels kTable{
      .unary = unary,
      .binary = binary,
      .compare = compare,
      .where = where,
      .copy = copy,
      .fill = fill,
      .arange = arange,
      .random = random,
      .reduce = reduce,
      .all_finite = all_finite,
      .arg_reduce = arg_reduce,
      .sort = sort,
      .cumsum = cumsum,
      .softmax = softmax,
      .conv2d = conv2d,
      .conv2d_backward_input = conv2d_backward_input,
      .conv2d_backward_weight = conv2d_backward_weight,
      .max_pool2d = max_pool2d,
      .max_pool2d_select = max_pool2d_select,
      .max_pool2d_backward = max_pool2d_backward,
      .avg_pool2d = avg_pool2d,
      .avg_pool2d_backward = avg_pool2d_backward,
      .batch_norm_statistics = batch_norm_statistics,
      .running_average = running_average,
      .batch_norm = batch_norm,
      .batch_norm_backward = batch_norm_backward,
      .layer_norm = layer_norm,
      .layer_norm_backward = layer_norm_backward,
      .matmul = matmul,
      .cholesky = cholesky,
      .solve_triangular = solve_triangular,
      .eigh = eigh,
      .svdvals = svdvals,
      .index_outside = index_outside,
      .gather = gather,
      .scatter_add = scatter_add,
      .nonzero = nonzero,
      .sgd_step = sgd_step,
      .adam_step = adam_step,
      .lerp = lerp,
      .squared_norms = squared_norms,
      .sample_images = sample_images,
      .image_step = image_step,
  };
  return kTable;
}

}  // namespace invar::cuda
