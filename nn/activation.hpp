#pragma once
// Activation: which elementwise function a network applies, as an option of modules such as ResNet.
#include <invar/core/tensor.hpp>
#include <string_view>

namespace invar::nn {

enum class Activation { identity, relu, leaky_relu, gelu, silu, softplus, tanh, sigmoid };

/// The function with PyTorch's default parameters (leaky_relu slope 0.01, gelu exact, softplus
/// beta 1).
Tensor activate(Activation activation, const Tensor& x);

/// "relu"; what parse_activation reads.
std::string_view name_of(Activation activation);
/// Error for an unknown name.
Activation parse_activation(std::string_view name);

}  // namespace invar::nn
