#pragma once
// What gradcheck and functional.hpp differentiate: functions of several tensors.
#include <functional>
#include <invar/core/tensor.hpp>
#include <type_traits>

namespace invar {

using TensorsFunction = std::function<Tensors(const Tensors&)>;

/// A function that returns one tensor instead of several.
template <class F>
concept ReturnsTensor = std::is_invocable_r_v<Tensor, F, const Tensors&>;

template <ReturnsTensor F>
TensorsFunction returning_one(F f) {
  return [f](const Tensors& x) -> Tensors { return {f(x)}; };
}

}  // namespace invar
