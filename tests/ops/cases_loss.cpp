// Losses, each against its formula written out.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/view.hpp>
#include <limits>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

constexpr const char* kNames[] = {"none", "mean", "sum"};

/// The formula of ops/loss.hpp, row by row.
Tensor naive_cross_entropy(const Tensor& logits, const Tensor& target,
                           const CrossEntropyOptions& options) {
  const std::int64_t classes = logits.size(-1), rows = target.numel();
  const Tensor x = contiguous(logits), t = contiguous(target);
  Tensor losses = empty(target.shape(), {.dtype = DType::f64});
  double total = 0, weights = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const double* const row = x.data<double>() + i * classes;
    const std::int64_t at = t.data<std::int64_t>()[i];
    double norm = 0, loss = 0;
    for (std::int64_t c = 0; c < classes; ++c) norm += std::exp(row[c]);
    for (std::int64_t c = 0; c < classes && at != options.ignore_index; ++c) {
      const double w = options.weight.defined() ? options.weight.data<double>()[c] : 1;
      const double s = options.label_smoothing, share = s / static_cast<double>(classes);
      loss -= (share + (c == at ? 1 - s : 0)) * w * (row[c] - std::log(norm));
      if (c == at) weights += w;
    }
    losses.data<double>()[i] = loss;
    total += loss;
  }
  if (options.reduction == LossReduction::none) return losses;
  return full({}, options.reduction == LossReduction::sum ? total : total / weights,
              {.dtype = DType::f64});
}

OpCases cases() {
  OpCases all;
  for (const auto reduction : {LossReduction::none, LossReduction::mean, LossReduction::sum}) {
    const char* const name = kNames[static_cast<int>(reduction)];
    for (const Dims& shape : {Dims{}, Dims{4}, Dims{2, 3}, Dims{0, 2}}) {
      if (numel_of(shape) == 0 && reduction == LossReduction::mean) continue;
      all.push_back(
          {.name = fmt::format("mse_loss {} {}", name, shape),
           .inputs = {real(shape), real(shape)},
           .f = [reduction](const Tensors& x) { return mse_loss(x[0], x[1], reduction); }});
    }
    for (const bool weighted : {false, true}) {
      for (const std::int64_t ignore : {-100, 1}) {
        for (const double smoothing : {0.0, 0.2}) {
          CrossEntropyOptions options{
              .ignore_index = ignore, .reduction = reduction, .label_smoothing = smoothing};
          if (weighted) options.weight = tensor({1, 0.5, 2, 0.25}, {.dtype = DType::f64});
          const auto with_dtype = [options](const Tensor& x) {
            CrossEntropyOptions o = options;
            if (o.weight.defined()) o.weight = to(to(o.weight, x.dtype()), x.device());
            return o;
          };
          all.push_back(
              {.name = fmt::format("cross_entropy {} {} {} {}", name, weighted, ignore, smoothing),
               .inputs = {real({5, 4}), index({5}, 4)},
               .f = [with_dtype](
                        const Tensors& x) { return cross_entropy(x[0], x[1], with_dtype(x[0])); },
               .reference = [options](const Tensors& x) -> Tensors {
                 return {naive_cross_entropy(x[0], x[1], options)};
               }});
        }
      }
    }
  }
  for (const Dims& rows : {Dims{}, Dims{1}, Dims{2, 3}}) {
    Dims shape = rows;
    shape.push_back(3);
    all.push_back({.name = fmt::format("cross_entropy {}", shape),
                   .inputs = {real(shape), index(rows, 3)},
                   .f = [](const Tensors& x) { return cross_entropy(x[0], x[1]); },
                   .reference = [](const Tensors& x) -> Tensors {
                     return {naive_cross_entropy(x[0], x[1], {})};
                   }});
  }
  return all;
}

}  // namespace

TEST_CASE("loss: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("loss: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("loss: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("cross_entropy: classes that are ruled out, targets that do not count", "[unit]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tensor logits =
      reshape(tensor({0, -kInfinity, 0}, {.dtype = DType::f64}), {1, 3}).requires_grad_();
  const Tensor target = tensor({2}, {.dtype = DType::i64});
  const Tensor loss = cross_entropy(logits, target);
  CHECK(std::abs(loss.item() - std::log(2.0)) < 1e-15);
  loss.backward();
  CHECK(logits.grad().data<double>()[1] == 0);
  CHECK(logits.grad().data<double>()[0] == 0.5);
  CHECK(std::isnan(cross_entropy(logits, target, {.ignore_index = 2}).item()));
  CHECK(
      cross_entropy(logits, target, {.ignore_index = 2, .reduction = LossReduction::sum}).item() ==
      0);
}

TEST_CASE("loss: errors say what is wrong", "[unit]") {
  const Tensor logits = zeros({2, 3});
  const auto labels = [](std::initializer_list<double> v) {
    return tensor(v, {.dtype = DType::i64});
  };
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0, 3})),
                    ContainsSubstring("[cross_entropy] expected targets in [0, 3) or -100"));
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0, -1})),
                    ContainsSubstring("got targets from -1 to 0"));
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0})), ContainsSubstring("i64 [2] for logits"));
  CHECK_THROWS_WITH(cross_entropy(logits, zeros({2})), ContainsSubstring("got f32 [2]"));
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0, 1}), {.weight = ones({2})}),
                    ContainsSubstring("expected one weight for each of 3 classes"));
  CHECK_THROWS_WITH(
      cross_entropy(logits, labels({0, 1}), {.weight = ones({3}, {.dtype = DType::bf16})}),
      ContainsSubstring("expected weights of dtype"));
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0, 1}), {.label_smoothing = 2}),
                    ContainsSubstring("expected label_smoothing in [0, 1], got 2"));
  CHECK_THROWS_WITH(mse_loss(logits, zeros({3})),
                    ContainsSubstring("[mse_loss] expected a target of shape [2, 3], got [3]"));
}

}  // namespace invar::test
