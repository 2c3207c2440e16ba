// Reductions over all, some and no dimensions, and what works along one.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>
#include <numeric>

#include "op_case.hpp"

namespace invar::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Values = std::vector<double>;

/// f of all values along `dims`, one output at a time: the lines are gathered by moving the reduced
/// dimensions to the end.
Tensor naive_reduce(const Tensor& x, const Dims& dims, bool keepdim,
                    const std::function<double(const Values&)>& f) {
  std::array<bool, kMaxDims> reduced{};
  for (std::int64_t d : dims)
    reduced[static_cast<std::size_t>(wrap_dim(d, x.dim(), "naive"))] = true;
  Dims order, kept, result;
  for (const bool last : {false, true}) {
    for (int d = 0; d < x.dim(); ++d) {
      const bool is_reduced = dims.empty() || reduced[static_cast<std::size_t>(d)];
      if (is_reduced == last) order.push_back(d);
    }
  }
  for (int d = 0; d < x.dim(); ++d) {
    const bool is_reduced = dims.empty() || reduced[static_cast<std::size_t>(d)];
    if (!is_reduced) kept.push_back(x.shape()[d]);
    if (!is_reduced || keepdim) result.push_back(is_reduced ? 1 : x.shape()[d]);
  }
  const Tensor lines = clone(permute(x, order));
  Tensor out = empty(result, {.dtype = DType::f64});
  const std::int64_t n = out.numel() == 0 ? 0 : x.numel() / out.numel();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const double* const begin = lines.data<double>() + i * n;
    out.data<double>()[i] = f(Values(begin, begin + n));
  }
  return out;
}

/// f of every line along `dim`, which gives a line of the same length.
Tensor naive_lines(const Tensor& x, int dim, const std::function<Values(const Values&)>& f) {
  const Tensor lines = clone(x.dim() == 0 ? flatten(x) : transpose(x, dim, -1));
  const std::int64_t n = lines.size(-1);
  for (std::int64_t i = 0; n > 0 && i < lines.numel() / n; ++i) {
    double* const begin = lines.data<double>() + i * n;
    std::ranges::copy(f(Values(begin, begin + n)), begin);
  }
  return x.dim() == 0 ? reshape(lines, {}) : clone(transpose(lines, dim, -1));
}

double sum_of(const Values& v) { return std::accumulate(v.begin(), v.end(), 0.0); }
double mean_of(const Values& v) { return sum_of(v) / static_cast<double>(v.size()); }
double squares_of(const Values& v, double center) {
  double total = 0;
  for (double x : v) total += (x - center) * (x - center);
  return total;
}
double logsumexp_of(const Values& v) {
  double total = 0;
  for (double x : v) total += std::exp(x);
  return std::log(total);
}
double norm_of(const Values& v, double p) {
  double total = 0;
  for (double x : v) {
    total = p == kInfinity ? std::max(total, std::abs(x)) : total + std::pow(std::abs(x), p);
  }
  return p == kInfinity ? total : std::pow(total, 1 / p);
}

struct ReductionCase {
  const char* name;
  Tensor (*f)(const Tensor&, const Dims&, bool);
  double (*reference)(const Values&);
  std::int64_t at_least = 0;  ///< values that it needs to be finite and differentiable
};

const ReductionCase kReductions[] = {
    {"sum", sum, sum_of},
    {"mean", mean, mean_of, 1},
    {"var", [](const Tensor& x, const Dims& d, bool keep) { return var(x, d, 1, keep); },
     [](const Values& v) {
       return squares_of(v, mean_of(v)) / (static_cast<double>(v.size()) - 1);
     },
     2},
    {"population var", [](const Tensor& x, const Dims& d, bool keep) { return var(x, d, 0, keep); },
     [](const Values& v) { return squares_of(v, mean_of(v)) / static_cast<double>(v.size()); }, 1},
    {"std", [](const Tensor& x, const Dims& d, bool keep) { return std(x, d, 1, keep); },
     [](const Values& v) {
       return std::sqrt(squares_of(v, mean_of(v)) / (static_cast<double>(v.size()) - 1));
     },
     2},
    {"amax", amax, [](const Values& v) { return *std::ranges::max_element(v); }, 1},
    {"amin", amin, [](const Values& v) { return *std::ranges::min_element(v); }, 1},
    {"logsumexp", logsumexp, logsumexp_of, 1},
    {"norm 1", [](const Tensor& x, const Dims& d, bool keep) { return norm(x, 1, d, keep); },
     [](const Values& v) { return norm_of(v, 1); }},
    {"norm 2", [](const Tensor& x, const Dims& d, bool keep) { return norm(x, 2, d, keep); },
     [](const Values& v) { return norm_of(v, 2); }},
    {"norm inf",
     [](const Tensor& x, const Dims& d, bool keep) { return norm(x, kInfinity, d, keep); },
     [](const Values& v) { return norm_of(v, kInfinity); }},
};

double prod_of(const Values& v) {
  return std::accumulate(v.begin(), v.end(), 1.0, std::multiplies<>());
}

struct LineCase {
  const char* name;
  Tensors (*f)(const Tensor&, int);
  Values (*reference)(const Values&);
};

Values softmax_of(const Values& v) {
  Values out;
  for (double x : v) out.push_back(std::exp(x - logsumexp_of(v)));
  return out;
}

const LineCase kLines[] = {
    {"softmax", [](const Tensor& x, int d) -> Tensors { return {softmax(x, d)}; }, softmax_of},
    {"log_softmax", [](const Tensor& x, int d) -> Tensors { return {log_softmax(x, d)}; },
     [](const Values& v) {
       Values out;
       for (double x : v) out.push_back(x - logsumexp_of(v));
       return out;
     }},
    {"cumsum", [](const Tensor& x, int d) -> Tensors { return {cumsum(x, d)}; },
     [](const Values& v) {
       Values out(v.size());
       std::partial_sum(v.begin(), v.end(), out.begin());
       return out;
     }},
    {"normalize", [](const Tensor& x, int d) -> Tensors { return {normalize(x, d)}; },
     [](const Values& v) {
       Values out;
       for (double x : v) out.push_back(x / norm_of(v, 2));
       return out;
     }},
};

OpCases cases() {
  OpCases all;
  Generator generator(7);
  const auto reduction = [&](const ReductionCase& op, const Dims& shape, const Dims& dims,
                             bool keepdim) {
    std::int64_t values = 1;
    for (int d = 0; d < shape.size(); ++d) {
      const bool reduced = std::ranges::any_of(
          dims, [&](std::int64_t dim) { return wrap_dim(dim, shape.size(), "case") == d; });
      if (dims.empty() || reduced) values *= shape[d];
    }
    if (values < op.at_least) return;
    all.push_back(
        {.name = fmt::format("{} {} over {}{}", op.name, shape, dims, keepdim ? " keepdim" : ""),
         .inputs = {real(shape)},
         .f = [f = op.f, dims, keepdim](const Tensors& x) { return f(x[0], dims, keepdim); },
         .reference = [f = op.reference, dims,
                       keepdim](const Tensors& x) { return naive_reduce(x[0], dims, keepdim, f); },
         .f64_tolerance = 1e-11,  // 40000 terms
         .kinks = true,
         .second_order = numel_of(shape) < 1000,
         .expandable = op.at_least < 2 && op.f != amax && op.f != amin});
  };
  for (const ReductionCase& op : kReductions) {
    reduction(op, {}, {}, false);
    reduction(op, {1}, {0}, true);
    reduction(op, {5}, {}, true);
    reduction(op, {2, 3, 4}, {}, false);
    reduction(op, {2, 3, 4}, {0}, true);
    reduction(op, {2, 3, 4}, {1}, false);
    reduction(op, {2, 3, 4}, {-1}, false);
    reduction(op, {2, 3, 4}, {0, 2}, false);
    reduction(op, {2, 3, 4}, {1, 0}, true);
    reduction(op, {2, 3, 4}, {1, 2}, false);
    reduction(op, {2, 1, 3}, {1}, false);
    reduction(op, {2, 0, 3}, {0}, false);  // no output
    reduction(op, {2, 0, 3}, {1}, false);  // no values
    for (int i = 0; i < 3; ++i) {
      const Dims shape = random_shape(generator);
      Dims dims;
      for (int d = 0; d < shape.size(); ++d) {
        if (random_between(generator, 0, 2) == 1) dims.push_back(d);
      }
      reduction(op, shape, dims, i == 0);
    }
    // Several pieces, along and across rows.
    reduction(op, {20000}, {}, false);
    reduction(op, {9000, 3}, {0}, false);
    reduction(op, {40, 600}, {0}, false);
    reduction(op, {3, 9000}, {1}, false);
    reduction(op, {2, 300, 20}, {1}, true);
  }
  const auto line = [&](const LineCase& op, const Dims& shape, int dim) {
    all.push_back({.name = fmt::format("{} {} along {}", op.name, shape, dim),
                   .inputs = {real(shape)},
                   .f = [f = op.f, dim](const Tensors& x) { return f(x[0], dim); },
                   .reference = [f = op.reference,
                                 dim](const Tensors& x) { return naive_lines(x[0], dim, f); },
                   .bf16_tolerance = 0.04,  // differences of nearly equal numbers
                   .f64_tolerance = 1e-11,
                   .second_order = numel_of(shape) < 1000});
  };
  for (const LineCase& op : kLines) {
    line(op, {}, 0);
    line(op, {1}, 0);
    line(op, {5}, 0);
    line(op, {3, 4}, 0);
    line(op, {3, 4}, -1);
    line(op, {2, 3, 2}, 1);
    line(op, {2, 0, 3}, 1);
    line(op, {2, 0, 3}, 0);
    line(op, {4, 1}, 1);
    line(op, {170, 100}, 1);
    line(op, {100, 170}, 0);
  }
  for (const auto& [shape, dim] : {std::pair{Dims{}, 0},
                                   {Dims{4}, 0},
                                   {Dims{3, 4}, 0},
                                   {Dims{3, 4}, -1},
                                   {Dims{2, 3, 2}, 1},
                                   {Dims{2, 0}, 0}}) {
    for (const bool keepdim : {false, true}) {
      all.push_back(
          {.name = fmt::format("max, min {} along {} {}", shape, dim, keepdim),
           .inputs = {real(shape)},
           .f = [dim = dim, keepdim](const Tensors& x) -> Tensors {
             const auto [high, high_at] = max(x[0], dim, keepdim);
             const auto [low, low_at] = min(x[0], dim, keepdim);
             return {high,
                     high_at,
                     low,
                     low_at,
                     argmax(x[0], dim, keepdim),
                     argmin(x[0], dim, keepdim)};
           },
           .reference = [dim = dim, keepdim](const Tensors& x) -> Tensors {
             const auto at = [&](const auto& better) {
               return to(naive_reduce(x[0], {dim}, keepdim,
                                      [&](const Values& v) {
                                        std::size_t best = 0;
                                        for (std::size_t i = 1; i < v.size(); ++i) {
                                          if (better(v[i], v[best])) best = i;
                                        }
                                        return static_cast<double>(best);
                                      }),
                         DType::i64);
             };
             const Tensor high = at(std::greater<>()), low = at(std::less<>());
             return {amax(x[0], {dim}, keepdim), high, amin(x[0], {dim}, keepdim), low, high, low};
           },
           .kinks = true});
    }
  }
  // Products: the gradient must be right with no, one and several zeros among the values.
  for (const auto& [shape, dims] : {std::pair{Dims{}, Dims{}},
                                    {Dims{1}, Dims{0}},
                                    {Dims{5}, Dims{}},
                                    {Dims{2, 3, 4}, Dims{1}},
                                    {Dims{3, 2, 3}, Dims{0, 2}},
                                    {Dims{2, 4}, Dims{}},
                                    {Dims{2, 0}, Dims{1}},
                                    {Dims{0, 2}, Dims{1}},
                                    {Dims{300, 60}, Dims{0}}}) {
    for (const int zeros : {0, 1, 4}) {
      const bool large = numel_of(shape) > 1000;
      all.push_back(
          {.name = fmt::format("prod {} over {}, {} zeros", shape, dims, zeros),
           .f = [dims = dims](const Tensors& x) { return prod(x[0], dims, true); },
           .reference =
               [dims = dims](const Tensors& x) { return naive_reduce(x[0], dims, true, prod_of); },
           .f32_tolerance = 1e-4,
           .bf16_tolerance = large ? 0.1 : 0.02,  // 300 factors
           .second_order = !large,
           .make = [shape = shape, zeros, large](Generator& generator) -> Tensors {
             Tensor x = to(rand(shape, {}, generator) + (large ? 0.5 : 0.25), DType::f64);
             for (std::int64_t i = 0; i < zeros && x.numel() > 0; ++i) {
               x.data<double>()[(i * 3) % x.numel()] = 0;
             }
             return {x};
           }});
    }
  }
  const auto order = [](std::int64_t k, bool descending) {
    return [k, descending](const Values& v) {
      Values sorted = v;
      descending ? std::ranges::sort(sorted, std::greater<>()) : std::ranges::sort(sorted);
      sorted.resize(static_cast<std::size_t>(k));
      return sorted;
    };
  };
  for (const auto& [shape, dim] : {std::pair{Dims{}, 0},
                                   {Dims{1}, 0},
                                   {Dims{6}, 0},
                                   {Dims{3, 4}, 0},
                                   {Dims{3, 4}, -1},
                                   {Dims{2, 3, 2}, 1},
                                   {Dims{2, 0}, 1},
                                   {Dims{0, 2}, 1},
                                   {Dims{60, 300}, 1}}) {
    for (const bool descending : {false, true}) {
      const bool large = numel_of(shape) > 1000;
      all.push_back({.name = fmt::format("sort {} along {} {}", shape, dim, descending),
                     .inputs = {real(shape)},
                     .f = [dim = dim, descending](const Tensors& x) -> Tensors {
                       const auto [values, indices] = sort(x[0], dim, descending);
                       return {values, indices};
                     },
                     .kinks = large,  // neighbours closer than the step
                     .second_order = !large});
      all.push_back(
          {.name = fmt::format("sorted {} along {} {}", shape, dim, descending),
           .inputs = {real(shape)},
           .f = [dim = dim,
                 descending](const Tensors& x) { return sort(x[0], dim, descending).values; },
           .reference =
               [dim = dim, f = order(shape.empty() ? 1 : shape[dim < 0 ? dim + shape.size() : dim],
                                     descending)](const Tensors& x) {
                 return naive_lines(x[0], dim, f);
               },
           .kinks = large,  // neighbours closer than the step
           .second_order = !large});
    }
  }
  for (const auto& [shape, k, dim] : {std::tuple{Dims{}, 1, 0},
                                      {Dims{6}, 3, 0},
                                      {Dims{3, 4}, 2, 0},
                                      {Dims{3, 4}, 0, 1},
                                      {Dims{2, 3, 2}, 3, 1}}) {
    for (const bool largest : {false, true}) {
      all.push_back({.name = fmt::format("topk {} of {} along {} {}", k, shape, dim, largest),
                     .inputs = {real(shape)},
                     .f = [k = k, dim = dim, largest](const Tensors& x) -> Tensors {
                       const auto [values, indices] = topk(x[0], k, dim, largest);
                       return {values, indices};
                     },
                     .reference = [k = k, dim = dim, largest](const Tensors& x) -> Tensors {
                       const auto [values, indices] = sort(x[0], dim, largest);
                       if (x[0].dim() == 0) return {values, indices};
                       return {narrow(values, dim, 0, k), narrow(indices, dim, 0, k)};
                     }});
    }
  }
  all.push_back({.name = "argmax, argmin of all",
                 .inputs = {real({3, 4})},
                 .f = [](const Tensors& x) -> Tensors {
                   return {argmax(x[0]), argmin(x[0]), sum(x[0])};
                 }});
  for (const auto& [shape, to] : {std::pair{Dims{4, 2, 3}, Dims{2, 1}},
                                  {Dims{2, 3}, Dims{}},
                                  {Dims{2, 3}, Dims{1, 1}},
                                  {Dims{0, 3}, Dims{1, 3}}}) {
    all.push_back({.name = fmt::format("sum_to {} {}", shape, to),
                   .inputs = {real(shape)},
                   .f = [to = to](const Tensors& x) { return sum_to(x[0], to); }});
  }
  return all;
}

}  // namespace

// A flag in the dimension's place does not compile.
template <class... Args>
concept CanSort = requires(const Tensor& x, Args... args) {
  invar::sort(x, args...);
};
static_assert(CanSort<int, bool> && !CanSort<bool>);
template <class... Args>
concept CanArgmax = requires(const Tensor& x, Args... args) {
  argmax(x, args...);
};
static_assert(CanArgmax<int, bool> && !CanArgmax<bool>);

TEST_CASE("reduce: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("reduce: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("reduce: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("reduce: indices that were changed in place are not followed", "[unit]") {
  const Tensor x = tensor({1, 5, 2, 0}, {.dtype = DType::f64, .requires_grad = true});
  const auto backward_after_change = [](const ValuesAndIndices& chosen) {
    add_(chosen.indices, 1.0);
    sum(chosen.values).backward();
  };
  CHECK_THROWS_AS(backward_after_change(max(x, 0)), Error);
  CHECK_THROWS_AS(backward_after_change(topk(x, 2, 0)), Error);
  CHECK_THROWS_AS(backward_after_change(sort(x, 0)), Error);
}

TEST_CASE("reduce: prod over nothing of eight dimensions", "[unit]") {
  const Tensor x = full({2, 2, 2, 2, 2, 2, 2, 1}, 3, {.dtype = DType::f64}).requires_grad_();
  sum(prod(x, {7})).backward();
  CHECK(all(eq(x.grad(), 1)).item<bool>());
}

}  // namespace invar::test
