// Views: their gradients are views or sums themselves.
#include <catch2/catch_test_macros.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/view.hpp>

#include "op_case.hpp"

namespace invar::test {
namespace {

OpCases cases() {
  OpCases all;
  const auto add = [&](const char* name, const Dims& shape, const Function& f) {
    all.push_back({.name = fmt::format("{} {}", name, shape), .inputs = {real(shape)}, .f = f});
  };
  for (const Dims& shape : {Dims{2, 6}, Dims{4, 3}, Dims{12}, Dims{1, 12}}) {
    add("reshape to [3, 4]", shape, [](const Tensors& x) { return reshape(x[0], {3, 4}); });
    add("reshape to [2, -1, 2]", shape, [](const Tensors& x) { return reshape(x[0], {2, -1, 2}); });
  }
  add("reshape to a scalar", {1, 1}, [](const Tensors& x) { return reshape(x[0], {}); });
  add("reshape from a scalar", {}, [](const Tensors& x) { return reshape(x[0], {1, 1}); });
  add("reshape of nothing", {0, 3}, [](const Tensors& x) { return reshape(x[0], {3, 0, 2}); });
  add("view", {2, 3}, [](const Tensors& x) { return view(transpose(x[0]), {3, 2}); });
  for (const Dims& shape : {Dims{2, 3, 4}, Dims{1, 3, 1}, Dims{2, 0, 3}}) {
    add("flatten", shape, [](const Tensors& x) { return flatten(x[0]); });
    add("flatten 1..", shape, [](const Tensors& x) { return flatten(x[0], 1); });
    add("permute", shape, [](const Tensors& x) { return permute(x[0], {2, 0, -2}); });
    add("transpose", shape, [](const Tensors& x) { return transpose(x[0], 0, 2); });
    add("squeeze", shape, [](const Tensors& x) { return squeeze(x[0]); });
    add("squeeze 0", shape, [](const Tensors& x) { return squeeze(x[0], 0); });
    add("unsqueeze", shape, [](const Tensors& x) { return unsqueeze(x[0], -1); });
    add("unsqueeze inside", shape, [](const Tensors& x) { return unsqueeze(x[0], 1); });
    add("slice", shape, [](const Tensors& x) { return slice(x[0], 2, 0, 100, 2); });
    add("slice from the end", shape, [](const Tensors& x) { return slice(x[0], 0, -1, 9); });
    add("slice of nothing", shape, [](const Tensors& x) { return slice(x[0], 0, 1, 1); });
    add("narrow", shape, [](const Tensors& x) { return narrow(x[0], 0, 0, 1); });
    add("select", shape, [](const Tensors& x) { return select(x[0], 0, -1); });
    add("split", shape, [](const Tensors& x) { return split(x[0], 2, 1); });
  }
  add("flatten a scalar", {}, [](const Tensors& x) { return flatten(x[0]); });
  add("permute a scalar", {}, [](const Tensors& x) { return permute(x[0], {}); });
  for (const Dims& shape : {Dims{}, Dims{1}, Dims{3, 1}, Dims{2, 3, 1}}) {
    add("expand", shape, [](const Tensors& x) { return expand(x[0], {2, 3, 4}); });
  }
  add("expand, keep", {3, 1}, [](const Tensors& x) { return expand(x[0], {2, -1, 2}); });
  add("expand to nothing", {1, 3}, [](const Tensors& x) { return expand(x[0], {0, 3}); });
  // Overlapping pieces of one tensor: their gradients meet in it.
  add("slices that overlap", {5},
      [](const Tensors& x) { return slice(x[0], 0, 0, 4) * slice(x[0], 0, 1, 5); });
  return all;
}

}  // namespace

TEST_CASE("view: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("view: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("view: on a GPU", "[cuda]") { check_on_gpu(cases()); }

}  // namespace invar::test
