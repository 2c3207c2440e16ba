#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/table.hpp>

namespace invar::cuda {

const Kernels& table() {
  static constexpr Kernels kTable = [] {
    Kernels t{};  // slots without a kernel stay empty
    t.unary = unary;
    t.binary = binary;
    t.compare = compare;
    t.where = where;
    t.copy = copy;
    t.fill = fill;
    t.arange = arange;
    t.random = random;
    t.reduce = reduce;
    t.all_finite = all_finite;
    t.arg_reduce = arg_reduce;
    t.sort = sort;
    t.cumsum = cumsum;
    t.softmax = softmax;
    t.max_pool2d = max_pool2d;
    t.max_pool2d_select = max_pool2d_select;
    t.max_pool2d_backward = max_pool2d_backward;
    t.avg_pool2d = avg_pool2d;
    t.avg_pool2d_backward = avg_pool2d_backward;
    t.batch_norm_statistics = batch_norm_statistics;
    t.running_average = running_average;
    t.batch_norm = batch_norm;
    t.batch_norm_backward = batch_norm_backward;
    t.layer_norm = layer_norm;
    t.layer_norm_backward = layer_norm_backward;
    t.index_outside = index_outside;
    t.gather = gather;
    t.scatter_add = scatter_add;
    t.nonzero = nonzero;
    t.sgd_step = sgd_step;
    t.adam_step = adam_step;
    t.lerp = lerp;
    t.squared_norms = squared_norms;
    t.sample_images = sample_images;
    t.image_step = image_step;
    t.conv2d = conv2d;
    t.conv2d_backward_input = conv2d_backward_input;
    t.conv2d_backward_weight = conv2d_backward_weight;
    t.matmul = matmul;
    t.cholesky = cholesky;
    t.solve_triangular = solve_triangular;
    t.eigh = eigh;
    t.svdvals = svdvals;
    return t;
  }();
  return kTable;
}

}  // namespace invar::cuda
