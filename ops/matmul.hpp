#pragma once
// Products of matrices. Operands are of one floating dtype (linear: or x bf16, weight and bias f32;
// the weight is rounded, and both get f32 gradients); bf16 is added up in f32. A matrix is not
// copied because it is transposed, or a slice of rows or of neighbouring columns: the kernels read
// strides. A sum over no terms is 0.
#include <invar/core/tensor.hpp>
#include <string_view>

namespace invar {

/// y[.., i, j] = sum_k a[.., i, k] b[.., k, j]. The dimensions before the last two broadcast. A 1-D
/// operand is a row on the left, a column on the right, and that dimension is missing in y: two of
/// them give their dot product.
Tensor matmul(const Tensor& a, const Tensor& b);

/// y[.., o] = sum_i x[.., i] weight[o, i] + bias[o]; `bias` may be undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// Einstein summation: einsum("bij,bkj->bik", {x, y}). Every index is a letter; indices that the
/// result does not name are summed. Without "->" the result has the indices that occur once, in
/// alphabetical order (A-Z before a-z). An index twice in one operand takes the diagonal. Operands
/// are multiplied from left to right. Error for "..." and where sizes differ (1 does not
/// broadcast).
Tensor einsum(std::string_view equation, const Tensors& operands);

}  // namespace invar
