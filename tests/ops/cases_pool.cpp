// Pooling: values, gradients, which maximum wins.
#include <omp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/pool.hpp>
#include <invar/ops/reduce.hpp>
#include <limits>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

/// out[n, p, q, c] = f(the values of x[n, h, w, c] with h, w in the windows, their number).
using Window = std::function<std::pair<std::int64_t, std::int64_t>(std::int64_t)>;
Tensor naive_pool(const Tensor& x, Size2 count, const Window& rows, const Window& columns,
                  const std::function<double(const std::vector<double>&)>& f) {
  const Dims& s = x.shape();
  Tensor out = empty({s[0], count.height, count.width, s[3]}, {.dtype = DType::f64});
  double* to = out.data<double>();
  for (std::int64_t n = 0; n < s[0]; ++n) {
    for (std::int64_t p = 0; p < count.height; ++p) {
      for (std::int64_t q = 0; q < count.width; ++q) {
        for (std::int64_t c = 0; c < s[3]; ++c) {
          std::vector<double> values;
          for (std::int64_t h = std::max<std::int64_t>(rows(p).first, 0);
               h < std::min(rows(p).second, s[1]); ++h) {
            for (std::int64_t w = std::max<std::int64_t>(columns(q).first, 0);
                 w < std::min(columns(q).second, s[2]); ++w) {
              values.push_back(x.data<double>()[((n * s[1] + h) * s[2] + w) * s[3] + c]);
            }
          }
          *to++ = f(values);
        }
      }
    }
  }
  return out;
}

double sum_of(const std::vector<double>& values) {
  double total = 0;
  for (double v : values) total += v;
  return total;
}

struct Sliding {
  const char* name;
  Dims x;
  Size2 kernel, stride, padding = 0;
};

const std::vector<Sliding> kSliding = {
    {"plain", {2, 4, 6, 3}, 2, 2},
    {"odd", {2, 5, 7, 3}, 2, 2},
    {"overlapping", {1, 6, 5, 2}, 3, 1},
    {"stem", {2, 7, 8, 3}, 3, 2, 1},
    {"unequal", {1, 5, 6, 2}, {1, 3}, {2, 1}, {0, 1}},
    {"stride > kernel", {1, 7, 7, 2}, 2, 3},
    {"whole image", {2, 3, 4, 5}, {3, 4}, 1},
    {"one", {1, 1, 1, 1}, 1, 1},
    {"all in the padding's reach", {1, 1, 1, 2}, 2, 1, 1},
    {"many channels", {2, 6, 6, 37}, 3, 2, 1},
    {"empty batch", {0, 4, 6, 3}, 2, 2},
    {"no channels", {2, 4, 6, 0}, 2, 2},
};

OpCases cases() {
  OpCases all;
  for (const Sliding& s : kSliding) {
    const Size2 count(window_count(s.x[1], s.kernel.height, s.stride.height, s.padding.height, 1),
                      window_count(s.x[2], s.kernel.width, s.stride.width, s.padding.width, 1));
    const Window rows = [s](std::int64_t p) {
      const std::int64_t from = p * s.stride.height - s.padding.height;
      return std::pair(from, from + s.kernel.height);
    };
    const Window columns = [s](std::int64_t q) {
      const std::int64_t from = q * s.stride.width - s.padding.width;
      return std::pair(from, from + s.kernel.width);
    };
    all.push_back(
        {.name = fmt::format("max_pool2d, {}", s.name),
         .inputs = {real(s.x)},
         .f = [s](const Tensors& x) { return max_pool2d(x[0], s.kernel, s.stride, s.padding); },
         .reference =
             [=](const Tensors& x) {
               return naive_pool(x[0], count, rows, columns, [](const std::vector<double>& v) {
                 return *std::max_element(v.begin(), v.end());
               });
             }});
    for (const bool include : {true, false}) {
      const auto size = static_cast<double>(s.kernel.height * s.kernel.width);
      all.push_back(
          {.name = fmt::format("avg_pool2d{}, {}", include ? "" : " without padding", s.name),
           .inputs = {real(s.x)},
           .f =
               [s, include](const Tensors& x) {
                 return avg_pool2d(x[0], s.kernel, s.stride, s.padding, include);
               },
           .reference =
               [=](const Tensors& x) {
                 return naive_pool(x[0], count, rows, columns, [&](const std::vector<double>& v) {
                   return sum_of(v) / (include ? size : static_cast<double>(v.size()));
                 });
               }});
    }
  }
  const std::pair<Dims, Size2> adaptive[] = {
      {{2, 7, 10, 3}, {3, 4}}, {{2, 5, 4, 3}, 1}, {{1, 3, 4, 2}, {3, 4}}, {{1, 2, 3, 2}, {5, 4}},
      {{1, 1, 1, 2}, 3},       {{0, 5, 4, 3}, 1}, {{3, 4, 4, 40}, 1}};
  for (const auto& problem : adaptive) {
    const Dims& shape = problem.first;
    const Size2 count = problem.second;
    const auto along = [](std::int64_t size, std::int64_t n) -> Window {
      return [size, n](std::int64_t i) {
        const double step = static_cast<double>(size) / static_cast<double>(n);
        return std::pair(
            static_cast<std::int64_t>(std::floor(static_cast<double>(i) * step + 1e-9)),
            static_cast<std::int64_t>(std::ceil(static_cast<double>(i + 1) * step - 1e-9)));
      };
    };
    const Window rows = along(shape[1], count.height), columns = along(shape[2], count.width);
    const auto add = [&](const char* name, Tensor (*op)(const Tensor&, Size2),
                         double (*pool)(const std::vector<double>&)) {
      all.push_back(
          {.name = fmt::format("{} {} to {}x{}", name, shape, count.height, count.width),
           .inputs = {real(shape)},
           .f = [op, count](const Tensors& x) { return op(x[0], count); },
           .reference =
               [=](const Tensors& x) { return naive_pool(x[0], count, rows, columns, pool); }});
    };
    add("adaptive_max_pool2d", adaptive_max_pool2d,
        [](const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); });
    add("adaptive_avg_pool2d", adaptive_avg_pool2d,
        [](const std::vector<double>& v) { return sum_of(v) / static_cast<double>(v.size()); });
  }
  return all;
}

}  // namespace

TEST_CASE("pool: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("pool: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("pool: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("pool: the first of equal maxima gets the gradient, a NaN wins", "[unit]") {
  const Tensor x = zeros({1, 4, 4, 2});
  x.requires_grad_();
  sum(max_pool2d(x, 3, 1)).backward();
  // Windows (0,0), (0,1), (1,0), (1,1) each give theirs to their first element.
  const Tensor g = x.grad();
  for (std::int64_t h = 0; h < 4; ++h) {
    for (std::int64_t w = 0; w < 4; ++w) {
      for (std::int64_t c = 0; c < 2; ++c) {
        CHECK(g.data<float>()[(h * 4 + w) * 2 + c] == (h < 2 && w < 2 ? 1.0f : 0.0f));
      }
    }
  }
  const Tensor holes = full({1, 1, 3, 1}, 5);
  holes.data<float>()[1] = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = max_pool2d(holes, {1, 2}, {{1, 1}});
  CHECK(std::isnan(y.data<float>()[0]));
  CHECK(std::isnan(y.data<float>()[1]));
  const Tensor low = full({1, 2, 2, 1}, -std::numeric_limits<double>::infinity());
  CHECK(max_pool2d(low, 2).item() == -std::numeric_limits<double>::infinity());
}

TEST_CASE("pool: the same bits for one thread and for two", "[unit]") {
  Generator generator(4);
  const Tensor x = randn({4, 40, 33, 20}, {}, generator);
  const auto run = [&](int threads) -> Tensors {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    Tensors all;
    for (const auto& f :
         {std::function([](const Tensor& t) { return max_pool2d(t, 3, 2, 1); }),
          std::function([](const Tensor& t) { return avg_pool2d(t, 3, 2, 1); }),
          std::function([](const Tensor& t) { return adaptive_avg_pool2d(t, 7); })}) {
      const Tensor leaf = x.detach().requires_grad_();
      const Tensor y = f(leaf);
      sum(square(y)).backward();
      all.push_back(y);
      all.push_back(leaf.grad());
    }
    omp_set_num_threads(before);
    return all;
  };
  const Tensors one = run(1), two = run(2);
  for (std::size_t k = 0; k < one.size(); ++k) {
    CHECK(std::memcmp(one[k].raw_data(), two[k].raw_data(), one[k].storage()->bytes()) == 0);
  }
}

TEST_CASE("pool: errors say what is wrong", "[unit]") {
  const Tensor x = zeros({1, 4, 4, 2});
  CHECK_THROWS_WITH(max_pool2d(x, 5), ContainsSubstring("expected an image of at least 5x5"));
  CHECK_THROWS_WITH(max_pool2d(x, 2, {}, 2),
                    ContainsSubstring("expected padding of at most half of the kernel 2x2"));
  CHECK_THROWS_WITH(max_pool2d(x, 0), ContainsSubstring("expected kernel of at least 1"));
  CHECK_THROWS_WITH(avg_pool2d(x, 2, 0), ContainsSubstring("expected stride of at least 1"));
  CHECK_THROWS_WITH(avg_pool2d(zeros({4, 4, 2}), 2), ContainsSubstring("expected input [N,H,W,C]"));
  CHECK_THROWS_WITH(adaptive_avg_pool2d(x, 0), ContainsSubstring("expected output of at least 1"));
  CHECK_THROWS_WITH(adaptive_avg_pool2d(zeros({1, 0, 4, 2}), 1),
                    ContainsSubstring("with H and W at least 1"));
  CHECK_THROWS_WITH(max_pool2d(to(x, DType::i64), 2),
                    ContainsSubstring("expected a floating dtype, got i64"));
}

}  // namespace invar::test
