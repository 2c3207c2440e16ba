#include <invar/core/json_reader.hpp>
#include <invar/nn/activation.hpp>
#include <invar/ops/elementwise.hpp>

namespace invar::nn {
namespace {

constexpr std::pair<Activation, std::string_view> kNames[] = {
    {Activation::identity, "identity"},
    {Activation::relu, "relu"},
    {Activation::leaky_relu, "leaky_relu"},
    {Activation::gelu, "gelu"},
    {Activation::silu, "silu"},
    {Activation::softplus, "softplus"},
    {Activation::tanh, "tanh"},
    {Activation::sigmoid, "sigmoid"},
};

}  // namespace

Tensor activate(Activation activation, const Tensor& x) {
  switch (activation) {
    case Activation::identity:
      return x;
    case Activation::relu:
      return relu(x);
    case Activation::leaky_relu:
      return leaky_relu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::silu:
      return silu(x);
    case Activation::softplus:
      return softplus(x);
    case Activation::tanh:
      return tanh(x);
    case Activation::sigmoid:
      return sigmoid(x);
  }
  fail_internal("activate", "unknown activation");
}

std::string_view name_of(Activation activation) {
  for (const auto& [value, name] : kNames) {
    if (value == activation) return name;
  }
  fail_internal("activation", "unknown activation");
}

Activation parse_activation(std::string_view text) {
  std::vector<std::string> names;
  for (const auto& [value, name] : kNames) {
    if (name == text) return value;
    names.emplace_back(name);
  }
  fail("activation", "unknown activation \"{}\": {}", text, suggestion(text, names));
}

}  // namespace invar::nn
