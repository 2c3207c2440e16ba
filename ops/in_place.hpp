#pragma once
// What an operation checks before it writes to a tensor that is there.
#include <invar/core/tensor.hpp>
#include <string_view>

namespace invar {

/// The rule of in-place operations, checked by every one of them before it writes: outside NoGrad,
/// neither the target nor an operand may require grad; never may elements of the target share an
/// address as expand's do (those of overlapping strides, which only alias() gives, are not looked
/// for). `op` is the in-place function ("add_"), `instead` the one to use with history ("add";
/// empty: there is none).
void check_in_place(const Tensor& target, bool operand_requires_grad, std::string_view op,
                    std::string_view instead = {});

}  // namespace invar
