// Reductions over all, some and no dimensions.
#include <catch2/catch_test_macros.hpp>
#include <invar/ops/reduce.hpp>

#include "op_case.hpp"

namespace invar::test {
namespace {

OpCases cases() {
  OpCases all;
  const auto add = [&](const std::string& name, const Dims& shape, const Function& f) {
    all.push_back({.name = fmt::format("{} {}", name, shape), .inputs = {real(shape)}, .f = f});
  };
  using Reduction = Tensor (*)(const Tensor&, const Dims&, bool);
  const std::pair<const char*, Reduction> over_dims[] = {{"sum", sum}, {"mean", mean}};
  for (const auto& [name, f] : over_dims) {
    for (const bool keepdim : {false, true}) {
      const auto over = [&](const Dims& shape, const Dims& dims) {
        add(fmt::format("{} over {}{}", name, dims, keepdim ? " keepdim" : ""), shape,
            [f = f, dims, keepdim](const Tensors& x) { return f(x[0], dims, keepdim); });
      };
      over({}, {});
      over({1}, {0});
      over({5}, {});
      over({2, 3, 4}, {});
      over({2, 3, 4}, {0});
      over({2, 3, 4}, {1});
      over({2, 3, 4}, {-1});
      over({2, 3, 4}, {0, 2});
      over({2, 3, 4}, {0, 1});
      over({2, 3, 4}, {1, 2});
      over({2, 1, 3}, {1});
      over({2, 0, 3}, {0});
      over({1, 3}, {0, 1});
    }
    // Larger than one piece, along and across rows.
    add(fmt::format("{} of many", name), {40000},
        [f = f](const Tensors& x) { return f(x[0], {}, false); });
    add(fmt::format("{} of long columns", name), {9000, 3},
        [f = f](const Tensors& x) { return f(x[0], {0}, false); });
    add(fmt::format("{} of long rows", name), {3, 9000},
        [f = f](const Tensors& x) { return f(x[0], {1}, false); });
  }
  add("sum over nothing", {2, 0, 3}, [](const Tensors& x) { return sum(x[0], {1}); });
  add("sum_to", {4, 2, 3}, [](const Tensors& x) { return sum_to(x[0], {2, 1}); });
  return all;
}

}  // namespace

TEST_CASE("reduce: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("reduce: values, f32, layouts", "[unit]") { check_values(cases()); }

}  // namespace invar::test
