// Single operations in f64 against PyTorch: outputs and the gradient of every input. The cases and
// their inputs are in ops.json (the table OPS of generate.py); the table here has the same call to
// our library for each.
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <invar/ops/conv.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/norm.hpp>
#include <invar/ops/pool.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <limits>
#include <map>

#include "golden.hpp"

using namespace invar;
using golden::json;

namespace {

constexpr double kTolerance = 1e-9;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The inputs of a case by name; one that it does not have is undefined.
using Inputs = std::map<std::string, Tensor>;
using Case = std::function<Tensors(Inputs)>;

Case conv(const Conv2dOptions& options = {}) {
  return [options](Inputs in) -> Tensors { return {conv2d(in["x"], in["w"], in["b"], options)}; };
}

/// The output and the running statistics afterwards.
Case normalise(const BatchNormOptions& options = {}) {
  return [options](Inputs in) -> Tensors {
    const Tensor y = batch_norm(in["x"], in["mean"], in["var"], in["weight"], in["bias"], options);
    return {y, in["mean"], in["var"]};
  };
}

Tensors both(const ValuesAndIndices& found) { return {found.values, found.indices}; }

/// Class weights are those of the case, if it has any.
Case classify(CrossEntropyOptions options = {}) {
  return [options](Inputs in) mutable -> Tensors {
    options.weight = in["w"];
    return {cross_entropy(in["x"], in["t"], options)};
  };
}

/// The loss and its terms.
Case vicreg(const ssl::Vicreg::Options& options) {
  return [options](Inputs in) -> Tensors {
    const ssl::ObjectiveOutput output = ssl::Vicreg(options)({in["za"], in["zb"]});
    Tensors all = {output.loss};
    for (const auto& term : output.terms) all.push_back(term.second);
    return all;
  };
}

/// Symmetric and positive definite.
Tensor spd(const Tensor& a) {
  return matmul(a, transpose(a)) + eye(a.size(-1), -1, {.dtype = DType::f64});
}

const std::map<std::string, Case> kCases = {
    // --- convolution
    {"conv2d/plain", conv()},
    {"conv2d/padding", conv({.padding = 1})},
    {"conv2d/stride", conv({.stride = 2, .padding = 1})},
    {"conv2d/stem", conv({.stride = 2, .padding = 3})},
    {"conv2d/pointwise", conv({.stride = 2})},
    {"conv2d/unequal", conv({.stride = {2, 1}, .padding = {1, 2}})},
    {"conv2d/dilation", conv({.padding = 2, .dilation = 2})},
    {"conv2d/groups", conv({.padding = 1, .groups = 2})},
    {"conv2d/depthwise", conv({.padding = 1, .groups = 4})},
    {"conv2d/all", conv({.stride = {2, 3}, .padding = {2, 1}, .dilation = {2, 1}, .groups = 2})},
    // --- normalisation
    {"batch_norm/train", normalise()},
    {"batch_norm/train_2d", normalise({.momentum = 0.3, .eps = 1e-3})},
    {"batch_norm/train_plain", normalise()},
    {"batch_norm/eval", normalise({.training = false})},
    {"layer_norm/last",
     [](Inputs in) -> Tensors { return {layer_norm(in["x"], {6}, in["w"], in["b"])}; }},
    {"layer_norm/two",
     [](Inputs in) -> Tensors {
       return {layer_norm(in["x"], {4, 6}, in["w"], in["b"], 1e-3)};
     }},
    {"layer_norm/plain", [](Inputs in) -> Tensors { return {layer_norm(in["x"], {6})}; }},
    {"normalize/rows", [](Inputs in) -> Tensors { return {normalize(in["x"])}; }},
    {"normalize/columns", [](Inputs in) -> Tensors { return {normalize(in["x"], 0)}; }},
    // --- activations and other elementwise functions
    {"gelu/exact", [](Inputs in) -> Tensors { return {gelu(in["x"])}; }},
    {"gelu/tanh", [](Inputs in) -> Tensors { return {gelu(in["x"], GeluApproximation::tanh)}; }},
    {"softplus/default", [](Inputs in) -> Tensors { return {softplus(in["x"])}; }},
    {"softplus/beta_threshold", [](Inputs in) -> Tensors { return {softplus(in["x"], 3, 2)}; }},
    {"silu", [](Inputs in) -> Tensors { return {silu(in["x"])}; }},
    {"relu/zero", [](Inputs in) -> Tensors { return {relu(in["x"])}; }},
    {"leaky_relu", [](Inputs in) -> Tensors { return {leaky_relu(in["x"], 0.2)}; }},
    {"sigmoid", [](Inputs in) -> Tensors { return {sigmoid(in["x"])}; }},
    {"tanh", [](Inputs in) -> Tensors { return {tanh(in["x"])}; }},
    {"erf", [](Inputs in) -> Tensors { return {erf(in["x"])}; }},
    {"exp", [](Inputs in) -> Tensors { return {exp(in["x"])}; }},
    {"expm1", [](Inputs in) -> Tensors { return {expm1(in["x"])}; }},
    {"log", [](Inputs in) -> Tensors { return {log(in["x"])}; }},
    {"log1p", [](Inputs in) -> Tensors { return {log1p(in["x"])}; }},
    {"sqrt", [](Inputs in) -> Tensors { return {sqrt(in["x"])}; }},
    {"rsqrt", [](Inputs in) -> Tensors { return {rsqrt(in["x"])}; }},
    {"sin", [](Inputs in) -> Tensors { return {sin(in["x"])}; }},
    {"cos", [](Inputs in) -> Tensors { return {cos(in["x"])}; }},
    {"pow/tensor", [](Inputs in) -> Tensors { return {pow(in["x"], in["y"])}; }},
    {"pow/scalar", [](Inputs in) -> Tensors { return {pow(in["x"], 2.5)}; }},
    {"pow/zero_base", [](Inputs in) -> Tensors { return {pow(in["x"], 2)}; }},
    {"pow/zero_exponent", [](Inputs in) -> Tensors { return {pow(in["x"], 0)}; }},
    {"abs/zero", [](Inputs in) -> Tensors { return {abs(in["x"])}; }},
    {"sign", [](Inputs in) -> Tensors { return {sign(in["x"])}; }},
    {"floor", [](Inputs in) -> Tensors { return {floor(in["x"])}; }},
    {"round/half_to_even", [](Inputs in) -> Tensors { return {round(in["x"])}; }},
    {"clamp/bounds", [](Inputs in) -> Tensors { return {clamp(in["x"], -1, 1)}; }},
    {"clamp/min", [](Inputs in) -> Tensors { return {clamp(in["x"], -1, kInfinity)}; }},
    {"clamp/max", [](Inputs in) -> Tensors { return {clamp(in["x"], -kInfinity, 1)}; }},
    {"maximum/ties", [](Inputs in) -> Tensors { return {maximum(in["x"], in["y"])}; }},
    {"minimum/ties", [](Inputs in) -> Tensors { return {minimum(in["x"], in["y"])}; }},
    {"where",
     [](Inputs in) -> Tensors { return {where(gt(in["x"], in["y"]), in["x"], in["y"] * 2)}; }},
    {"div/broadcast", [](Inputs in) -> Tensors { return {in["x"] / in["y"]}; }},
    // --- reductions
    {"sum/dims",
     [](Inputs in) -> Tensors {
       return {sum(in["x"], {0, 2})};
     }},
    {"mean/keepdim", [](Inputs in) -> Tensors { return {mean(in["x"], {1}, true)}; }},
    {"var/all", [](Inputs in) -> Tensors { return {var(in["x"])}; }},
    {"var/population", [](Inputs in) -> Tensors { return {var(in["x"], {1}, 0)}; }},
    {"var/correction2",
     [](Inputs in) -> Tensors {
       return {var(in["x"], {0, 2}, 2)};
     }},
    {"std/dim", [](Inputs in) -> Tensors { return {invar::std(in["x"], {0})}; }},
    {"std/keepdim",
     [](Inputs in) -> Tensors {
       return {invar::std(in["x"], {0, 2}, 0, true)};
     }},
    {"prod/all", [](Inputs in) -> Tensors { return {prod(in["x"])}; }},
    {"prod/one_zero", [](Inputs in) -> Tensors { return {prod(in["x"])}; }},
    {"prod/two_zeros", [](Inputs in) -> Tensors { return {prod(in["x"])}; }},
    {"prod/dim", [](Inputs in) -> Tensors { return {prod(in["x"], {1})}; }},
    {"max/all_ties", [](Inputs in) -> Tensors { return {amax(in["x"])}; }},
    {"min/all_ties", [](Inputs in) -> Tensors { return {amin(in["x"])}; }},
    {"max/dim", [](Inputs in) -> Tensors { return both(max(in["x"], 1)); }},
    {"min/dim", [](Inputs in) -> Tensors { return both(min(in["x"], 0)); }},
    {"argmax", [](Inputs in) -> Tensors { return {argmax(in["x"], 2)}; }},
    {"logsumexp/dim", [](Inputs in) -> Tensors { return {logsumexp(in["x"], {1})}; }},
    {"logsumexp/large", [](Inputs in) -> Tensors { return {logsumexp(in["x"], {0}, true)}; }},
    {"softmax", [](Inputs in) -> Tensors { return {softmax(in["x"], 1)}; }},
    {"log_softmax", [](Inputs in) -> Tensors { return {log_softmax(in["x"], -1)}; }},
    {"cumsum/first", [](Inputs in) -> Tensors { return {cumsum(in["x"], 0)}; }},
    {"cumsum/middle", [](Inputs in) -> Tensors { return {cumsum(in["x"], 1)}; }},
    {"norm/all", [](Inputs in) -> Tensors { return {norm(in["x"])}; }},
    {"norm/dim", [](Inputs in) -> Tensors { return {norm(in["x"], 2, {1}, true)}; }},
    {"norm/zero", [](Inputs in) -> Tensors { return {norm(in["x"])}; }},
    {"norm/one", [](Inputs in) -> Tensors { return {norm(in["x"], 1, {0})}; }},
    // --- order
    {"sort/ties", [](Inputs in) -> Tensors { return both(sort(in["x"], 1)); }},
    {"sort/ties_descending", [](Inputs in) -> Tensors { return both(sort(in["x"], 1, true)); }},
    {"sort/first", [](Inputs in) -> Tensors { return both(sort(in["x"], 0)); }},
    {"topk/largest", [](Inputs in) -> Tensors { return both(topk(in["x"], 3, 1)); }},
    {"topk/smallest", [](Inputs in) -> Tensors { return both(topk(in["x"], 2, 0, false)); }},
    // --- products
    {"matmul/plain", [](Inputs in) -> Tensors { return {matmul(in["x"], in["y"])}; }},
    {"matmul/batched", [](Inputs in) -> Tensors { return {matmul(in["x"], in["y"])}; }},
    {"matmul/broadcast", [](Inputs in) -> Tensors { return {matmul(in["x"], in["y"])}; }},
    {"matmul/vector", [](Inputs in) -> Tensors { return {matmul(in["x"], in["y"])}; }},
    {"matmul/dot", [](Inputs in) -> Tensors { return {matmul(in["x"], in["y"])}; }},
    {"linear", [](Inputs in) -> Tensors { return {linear(in["x"], in["w"], in["b"])}; }},
    {"einsum/matmul",
     [](Inputs in) -> Tensors {
       return {einsum("ij,jk->ik", {in["x"], in["y"]})};
     }},
    {"einsum/batched",
     [](Inputs in) -> Tensors { return {einsum("bij,bjk->bik", {in["x"], in["y"]})}; }},
    {"einsum/transposed",
     [](Inputs in) -> Tensors { return {einsum("bij,kj->bki", {in["x"], in["y"]})}; }},
    {"einsum/outer", [](Inputs in) -> Tensors { return {einsum("i,j->ij", {in["x"], in["y"]})}; }},
    {"einsum/rows_dot",
     [](Inputs in) -> Tensors { return {einsum("bi,bi->b", {in["x"], in["y"]})}; }},
    {"einsum/sum", [](Inputs in) -> Tensors { return {einsum("ij->j", {in["x"]})}; }},
    {"einsum/transpose", [](Inputs in) -> Tensors { return {einsum("ij->ji", {in["x"]})}; }},
    {"einsum/trace", [](Inputs in) -> Tensors { return {einsum("ii->", {in["x"]})}; }},
    {"einsum/diagonal", [](Inputs in) -> Tensors { return {einsum("ii->i", {in["x"]})}; }},
    {"einsum/implicit", [](Inputs in) -> Tensors { return {einsum("ij,jk", {in["x"], in["y"]})}; }},
    // --- linear algebra
    {"cholesky/lower", [](Inputs in) -> Tensors { return {cholesky(spd(in["a"]))}; }},
    {"cholesky/batched", [](Inputs in) -> Tensors { return {cholesky(spd(in["a"]))}; }},
    {"logdet", [](Inputs in) -> Tensors { return {logdet(spd(in["a"]))}; }},
    {"solve_triangular/lower",
     [](Inputs in) -> Tensors { return {solve_triangular(in["a"], in["b"], false)}; }},
    {"solve_triangular/upper",
     [](Inputs in) -> Tensors { return {solve_triangular(in["a"], in["b"], true)}; }},
    {"diag/extract", [](Inputs in) -> Tensors { return {diag(in["x"])}; }},
    {"diag/build", [](Inputs in) -> Tensors { return {diag(in["x"])}; }},
    {"tril", [](Inputs in) -> Tensors { return {tril(in["x"], -1)}; }},
    {"triu", [](Inputs in) -> Tensors { return {triu(in["x"], 1)}; }},
    // --- pooling
    {"max_pool2d/stem", [](Inputs in) -> Tensors { return {max_pool2d(in["x"], 3, 2, 1)}; }},
    {"max_pool2d/ties", [](Inputs in) -> Tensors { return {max_pool2d(in["x"], 3, 2, 1)}; }},
    {"max_pool2d/plain", [](Inputs in) -> Tensors { return {max_pool2d(in["x"], 2)}; }},
    {"avg_pool2d/padding_counted",
     [](Inputs in) -> Tensors { return {avg_pool2d(in["x"], 3, 2, 1)}; }},
    {"avg_pool2d/padding_not_counted",
     [](Inputs in) -> Tensors { return {avg_pool2d(in["x"], 3, 2, 1, false)}; }},
    {"adaptive_avg_pool2d/odd",
     [](Inputs in) -> Tensors { return {adaptive_avg_pool2d(in["x"], {3, 4})}; }},
    {"adaptive_avg_pool2d/one",
     [](Inputs in) -> Tensors { return {adaptive_avg_pool2d(in["x"], 1)}; }},
    // --- indices
    {"gather", [](Inputs in) -> Tensors { return {gather(in["x"], 1, in["i"])}; }},
    {"scatter_add",
     [](Inputs in) -> Tensors { return {scatter_add(in["x"], 1, in["i"], in["s"])}; }},
    {"index_select/rows", [](Inputs in) -> Tensors { return {index_select(in["x"], 0, in["i"])}; }},
    {"index_select/middle",
     [](Inputs in) -> Tensors { return {index_select(in["x"], 1, in["i"])}; }},
    {"embedding", [](Inputs in) -> Tensors { return {embedding(in["w"], in["i"])}; }},
    {"masked_select",
     [](Inputs in) -> Tensors { return {masked_select(in["x"], gt(in["x"], 0))}; }},
    {"nonzero", [](Inputs in) -> Tensors { return {nonzero(gt(in["x"], 0))}; }},
    {"one_hot", [](Inputs in) -> Tensors { return {one_hot(in["i"], 5)}; }},
    {"flip", [](Inputs in) -> Tensors { return {flip(in["x"], {0, 2})}; }},
    {"repeat", [](Inputs in) -> Tensors { return {repeat(in["x"], {2, 1, 3})}; }},
    {"cat", [](Inputs in) -> Tensors { return {cat({in["x"], in["y"]}, 1)}; }},
    {"stack", [](Inputs in) -> Tensors { return {stack({in["x"], in["y"]}, 1)}; }},
    // --- padding: ours names the channels of an image first
    {"pad/constant",
     [](Inputs in) -> Tensors { return {pad(in["x"], {1, 2, 0, 3}, PadMode::constant, 0.5)}; }},
    {"pad/crop", [](Inputs in) -> Tensors { return {pad(in["x"], {-1, 2})}; }},
    {"pad/reflect",
     [](Inputs in) -> Tensors { return {pad(in["x"], {0, 0, 1, 2, 3, 0}, PadMode::reflect)}; }},
    {"pad/replicate",
     [](Inputs in) -> Tensors { return {pad(in["x"], {0, 0, 1, 2, 3, 0}, PadMode::replicate)}; }},
    // --- losses
    {"mse_loss", [](Inputs in) -> Tensors { return {mse_loss(in["x"], in["y"])}; }},
    {"cross_entropy/plain", classify()},
    {"cross_entropy/sum", classify({.reduction = LossReduction::sum})},
    {"cross_entropy/none", classify({.reduction = LossReduction::none})},
    {"cross_entropy/smoothing", classify({.label_smoothing = 0.1})},
    {"cross_entropy/ignore", classify({.ignore_index = 2})},
    {"cross_entropy/weights", classify()},
    {"cross_entropy/all", classify({.ignore_index = 2, .label_smoothing = 0.2})},
    {"vicreg/few_dims", vicreg({})},
    {"vicreg/many_dims", vicreg({})},
    {"vicreg/variance_not_halved", vicreg({.halve_variance = false})},
};

void run(const std::string& name, const Case& function, const json& golden_case) {
  Inputs inputs;
  for (const auto& [key, spec] : golden_case.at("inputs").items()) {
    inputs[key] = golden::input(name + "/" + key, spec, DType::f64);
    if (spec.at("grad")) inputs[key].requires_grad_();
  }
  const Tensors outputs = function(inputs);
  const json& their_outputs = golden_case.at("outputs");
  REQUIRE(outputs.size() == their_outputs.size());
  Tensor objective;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    golden::compare(fmt::format("{}: output {}", name, k), outputs[k], their_outputs[k],
                    kTolerance);
    if (!outputs[k].requires_grad()) continue;
    const Tensor cotangent = golden::uniform(fmt::format("{}/cotangent{}", name, k),
                                             golden::torch_shape(outputs[k]), DType::f64);
    const Tensor term = sum(outputs[k] * cotangent);
    objective = objective.defined() ? objective + term : term;
  }
  if (objective.defined()) objective.backward();
  for (const auto& [key, record] : golden_case.at("grads").items()) {
    const Tensor gradient = inputs.at(key).grad();
    // No gradient at all (of sign, say) is as good as zeros.
    if (!gradient.defined() && record.at("norm") == 0) continue;
    if (!gradient.defined()) {
      FAIL_CHECK(name << ": gradient of " << key << ": ours is undefined");
    } else {
      golden::compare(fmt::format("{}: gradient of {}", name, key), gradient, record, kTolerance);
    }
  }
}

}  // namespace

TEST_CASE("the hash is the one of generate.py", "[golden][smoke]") {
  CHECK(golden::hash("a", 0) == 0x5f29c2aadd9b8527);
  CHECK(golden::hash("a", 1) == 0xff84f1bdb6d3884f);
  CHECK(golden::hash("layer1.0.conv1.weight", 123456) == 0x606ba2b7182ff37d);
  CHECK(golden::unit("a", 1) == 0.9962445497512817);
  CHECK(golden::below("a", 1, 10) == 9);
}

TEST_CASE("operations give PyTorch's outputs and gradients", "[golden]") {
  const json file = golden::load("ops.json");
  for (const auto& [name, function] : kCases) {
    if (!file.contains(name))
      FAIL_CHECK(name << ": in the table of this file, but not in ops.json");
  }
  for (const auto& [name, golden_case] : file.items()) {
    INFO(name);
    const auto found = kCases.find(name);
    if (found == kCases.end()) {
      FAIL_CHECK(name << ": in ops.json, but not in the table of this file");
      continue;
    }
    try {
      run(name, found->second, golden_case);
    } catch (const std::exception& error) {  // so that the other cases run all the same
      FAIL_CHECK(name << ": " << error.what());
    }
  }
}
