// Matrix products against sums written out, in every combination of ranks, layouts and sizes that
// the kernels treat differently.
#include <omp.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

/// The sum over k of a[.., i, k] b[.., k, j], for a and b of at least two dimensions.
Tensor naive_product(const Tensor& a, const Tensor& b) {
  const auto batch = [](const Tensor& x) {
    return Dims(std::span(x.shape().begin(), x.shape().end() - 2));
  };
  Dims shape = broadcast_shapes(batch(a), batch(b), "naive");
  Dims a_shape = shape, b_shape = shape;
  for (int d : {-2, -1}) {
    a_shape.push_back(a.size(d));
    b_shape.push_back(b.size(d));
  }
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  const Tensor x = expand(a, a_shape), y = expand(b, b_shape);
  const int last = shape.size() - 1;
  return from_coordinates(shape, [&](const Dims& i) {
    Dims from_x = i, from_y = i;
    double sum = 0;
    for (std::int64_t k = 0; k < x.size(-1); ++k) {
      from_x[last] = from_y[last - 1] = k;
      sum += at(x, from_x) * at(y, from_y);
    }
    return sum;
  });
}

/// Any einsum: every combination of the values of its indices.
Tensor naive_einsum(const std::string& inputs, const std::string& result, const Tensors& x) {
  std::vector<std::string> groups(1);
  std::string letters = result;
  for (char c : inputs) {
    if (c == ',') {
      groups.emplace_back();
    } else {
      groups.back().push_back(c);
      if (letters.find(c) == std::string::npos) letters.push_back(c);
    }
  }
  const auto size_of_letter = [&](char c) {
    for (std::size_t k = 0; k < groups.size(); ++k) {
      const std::size_t d = groups[k].find(c);
      if (d != std::string::npos) return x[k].size(static_cast<int>(d));
    }
    return std::int64_t{0};
  };
  Dims all, shape;
  for (char c : letters) all.push_back(size_of_letter(c));
  for (char c : result) shape.push_back(size_of_letter(c));
  const Tensor out = zeros(shape, {.dtype = DType::f64});
  from_coordinates(all, [&](const Dims& value) {
    double product = 1;
    for (std::size_t k = 0; k < groups.size(); ++k) {
      Dims i;
      for (char c : groups[k]) i.push_back(value[static_cast<int>(letters.find(c))]);
      product *= at(x[k], i);
    }
    std::int64_t offset = 0;
    for (int d = 0; d < shape.size(); ++d) offset += value[d] * out.strides()[d];
    out.data<double>()[offset] += product;
    return 0.0;
  });
  return out;
}

OpCases cases() {
  OpCases all;
  const auto add_matmul = [&](const Dims& a, const Dims& b) {
    all.push_back({.name = fmt::format("matmul {} {}", a, b),
                   .inputs = {real(a), real(b)},
                   .f = [](const Tensors& x) { return matmul(x[0], x[1]); },
                   .reference = [](const Tensors& x) -> Tensors {
                     const bool row = x[0].dim() == 1, column = x[1].dim() == 1;
                     Tensor y = naive_product(row ? unsqueeze(x[0], 0) : x[0],
                                              column ? unsqueeze(x[1], 1) : x[1]);
                     if (column) y = squeeze(y, -1);
                     if (row) y = squeeze(y, column ? -1 : -2);
                     return {y};
                   }});
  };
  add_matmul({3, 4}, {4, 5});
  add_matmul({1, 1}, {1, 1});
  add_matmul({1, 5}, {5, 1});
  add_matmul({5, 1}, {1, 5});
  add_matmul({4}, {4});
  add_matmul({4}, {4, 3});
  add_matmul({4}, {2, 4, 3});
  add_matmul({3, 4}, {4});
  add_matmul({2, 3, 4}, {4});
  add_matmul({2, 3, 4}, {4, 5});
  add_matmul({2, 2, 3, 4}, {4, 5});
  add_matmul({3, 4}, {2, 4, 5});
  add_matmul({2, 3, 4}, {2, 4, 5});
  add_matmul({2, 1, 3, 4}, {5, 4, 2});
  add_matmul({1, 3, 4}, {2, 4, 1});
  // Nothing in a dimension: no results, or sums of no terms.
  add_matmul({0, 4}, {4, 5});
  add_matmul({3, 0}, {0, 5});
  add_matmul({2, 3, 0}, {2, 0, 5});
  add_matmul({3, 4}, {4, 0});
  add_matmul({0, 3, 4}, {4, 5});
  add_matmul({0, 3, 4}, {0, 4, 5});
  add_matmul({0}, {0});
  // Larger than a tile of the f64 and of the f32 kernel, and than a block of terms; edges ragged.
  add_matmul({130, 300}, {300, 133});
  add_matmul({520, 7}, {7, 270});
  add_matmul({3, 1030}, {1030, 2});

  const auto add_linear = [&](const Dims& x, std::int64_t outputs, bool bias) {
    OpCase c{
        .name = fmt::format("linear {} to {}{}", x, outputs, bias ? " with bias" : ""),
        .inputs = {real(x), real({outputs, x.back()})},
        .f = [](const Tensors& x) { return linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor()); },
        .reference = [](const Tensors& x) -> Tensors {
          const bool vector = x[0].dim() == 1;
          const Tensor rows = vector ? unsqueeze(x[0], 0) : x[0];
          Tensor y = naive_product(rows, transpose(x[1]));
          if (x.size() > 2) y = y + x[2];
          return {vector ? squeeze(y, 0) : y};
        }};
    if (bias) c.inputs.push_back(real({outputs}));
    all.push_back(c);
  };
  for (const bool bias : {false, true}) {
    add_linear({3, 4}, 5, bias);
    add_linear({2, 3, 4}, 2, bias);
    add_linear({4}, 3, bias);
    add_linear({1, 1}, 1, bias);
    add_linear({0, 4}, 3, bias);
    add_linear({3, 0}, 2, bias);
    add_linear({2, 0, 4}, 3, bias);
    add_linear({40, 9}, 600, bias);
  }

  const auto add_einsum = [&](const std::string& inputs, const std::string& result,
                              const std::string& equation) {
    OpCase c{.name = fmt::format("einsum {}", equation),
             .inputs = {},
             .f = [equation](const Tensors& x) { return einsum(equation, x); },
             .reference = [inputs, result](const Tensors& x) -> Tensors {
               return {naive_einsum(inputs, result, x)};
             }};
    Dims shape;
    for (char index : inputs + ",") {
      if (index == ',') {
        c.inputs.push_back(real(shape));
        shape = {};
      } else {
        shape.push_back(index == 'z' ? 0 : index == 'o' ? 1 : 2 + index % 3);
      }
    }
    all.push_back(c);
  };
  for (const auto& [inputs, result] : std::initializer_list<std::pair<const char*, const char*>>{
           {"ij,jk", "ik"},     {"ij,kj", "ki"},     {"ji,jk", "ik"},   {"ij,ij", ""},
           {"ij,ij", "ij"},     {"ij,ij", "j"},      {"ij,j", "i"},     {"i,j", "ji"},
           {"i,i", ""},         {"ij,kl", ""},       {"ij,kl", "ljki"}, {"bij,bjk", "bik"},
           {"bij,bkj", "kbi"},  {"bij,jk", "bik"},   {"bij,bij", "b"},  {"bhqd,bhkd", "bhqk"},
           {"bijc,ijcd", "bd"}, {"bijc,bij", "bc"},  {"i", ""},         {"ij", "ji"},
           {"ijk", "j"},        {"ii", ""},          {"ii", "i"},       {"iji", "ji"},
           {"iii", "i"},        {"iij,jkk", "ik"},   {"i,ij,j", ""},    {"ij,jk,kl", "il"},
           {"ab,abc,c", "b"},   {"ia,ib,ic", "abc"}, {"iz,zj", "ij"},   {"zi,ij", "zj"},
           {"bzi,bij", "bj"},   {"oi,oj", "ij"},     {",i", "i"},       {",", ""},
       }) {
    add_einsum(inputs, result, fmt::format("{}->{}", inputs, result));
  }
  add_einsum("ij,jk", "ik", "ij,jk");
  add_einsum("cb,ba", "ac", "cb,ba");  // the implicit result is alphabetical
  add_einsum("Ab,bA", "", "Ab, bA");
  add_einsum("ii", "", "ii");
  add_einsum("iij", "j", " ii j ");
  return all;
}

}  // namespace

TEST_CASE("matmul: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("matmul: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("matmul: on a GPU", "[cuda]") { check_on_gpu(cases()); }

// Many times, since what several threads share without need is rarely wrong: a build of OpenBLAS
// without threads mixes up their buffers once in some hundred products.
TEST_CASE("matmul has the same bits for any number of threads", "[unit]") {
  const int threads = omp_get_max_threads();
  Generator generator(3);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = randn({300, 70}, {.dtype = dtype}, generator);
    const Tensor b = randn({70, 700}, {.dtype = dtype}, generator);
    const Tensor c = randn({40, 70, 6}, {.dtype = dtype}, generator);
    const Tensor few = randn({40, 9}, {.dtype = dtype}, generator);
    const Tensor wide = randn({9, 600}, {.dtype = dtype}, generator);
    const Tensor l =
        tril(randn({70, 70}, {.dtype = dtype}, generator)) + 20 * eye(70, 70, {.dtype = dtype});
    const auto all = [&] {
      return Tensors{matmul(a, b), matmul(transpose(b), transpose(a)), matmul(a, c),
                     matmul(few, wide), solve_triangular(l, b, /*upper=*/false)};
    };
    omp_set_num_threads(1);
    const Tensors one = all();
    omp_set_num_threads(3);
    std::vector<int> wrong(one.size(), 0);
    for (int repetition = 0; repetition < 300; ++repetition) {
      const Tensors three = all();
      for (std::size_t k = 0; k < one.size(); ++k) {
        wrong[k] += std::memcmp(one[k].raw_data(), three[k].raw_data(),
                                static_cast<std::size_t>(one[k].numel()) * size_of(dtype)) != 0;
      }
    }
    omp_set_num_threads(threads);
    CAPTURE(dtype);
    CHECK(wrong == std::vector<int>(one.size(), 0));
  }
}

TEST_CASE("matmul propagates NaN and infinity", "[unit]") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = tensor(std::vector<double>{NAN, 0, 1, INFINITY}, {2, 2}, {.dtype = dtype});
    const Tensor y = to(matmul(a, zeros({2, 3}, {.dtype = dtype})), DType::f64);
    for (std::int64_t i = 0; i < y.numel(); ++i) CHECK(std::isnan(y.data<double>()[i]));
  }
}

TEST_CASE("matmul: the stride of a dimension of size 1 may be anything", "[unit]") {
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  for (const DType dtype : {DType::f32, DType::f64}) {
    const TensorOptions options{.dtype = dtype};
    const Tensor row = tensor({1, 2, 3}, options), y = ones({3, 4}, options);
    const Tensor a = alias(row, {1, 3}, {kFar, 1}, 0), b = alias(row, {3, 1}, {1, kFar}, 0);
    CHECK(matmul(a, y).shape() == Dims{1, 4});
    CHECK(sum(matmul(a, y)).item() == 24);
    CHECK(matmul(a, b).item() == 14);
  }
}

TEST_CASE("matmul, linear, einsum: what they refuse", "[unit]") {
  const Tensor x = ones({2, 3}), y = ones({3, 4});
  const auto refuses = [](const auto& f, const char* text) {
    INFO(text);
    CHECK_THROWS_AS(f(), Error);
    CHECK_THROWS_WITH(f(), ContainsSubstring(text));
  };
  refuses([&] { matmul(x, x); }, "[matmul] expected [.., m, k] and [.., k, n], got [2, 3] and [2");
  refuses([&] { matmul(x, ones({2})); }, "got [2, 3] and [2]");
  refuses([&] { matmul(ones({}), x); }, "at least one dimension");
  refuses([&] { matmul(x, to(y, DType::f64)); }, "f32 and f64");
  refuses([&] { matmul(to(x, DType::i64), to(y, DType::i64)); }, "floating dtype");
  refuses([&] { matmul(ones({2, 2, 3}), ones({3, 3, 4})); }, "broadcast");
  refuses([&] { matmul(Tensor(), x); }, "undefined");
  refuses([&] { linear(x, y); }, "[linear] expected input [.., 4] (weight is [3, 4]), got [2, 3]");
  refuses([&] { linear(x, ones({3})); }, "expected weight [out, in]");
  refuses([&] { linear(x, ones({4, 3}), ones({3})); }, "expected bias [4]");
  refuses([&] { linear(x, ones({4, 3}), ones({4}, {.dtype = DType::f64})); }, "f32 and f64");
  refuses([&] { einsum("ij", {x, y}); }, "for 2 operands");
  refuses([&] { einsum("ij,jk,kl", {x, y}); }, "for 2 operands");
  refuses([&] { einsum("", {}); }, "for 0 operands");
  refuses([&] { einsum("...j,jk", {x, y}); }, "\"...\"");
  refuses([&] { einsum("i1,1k", {x, y}); }, "expected letters");
  refuses([&] { einsum("ij,jk->ij->k", {x, y}); }, "'-'");
  refuses([&] { einsum("ij,jk->il", {x, y}); }, "got 'l'");
  refuses([&] { einsum("ij,jk->ii", {x, y}); }, "got 'i'");
  refuses([&] { einsum("ijk,jk->i", {x, y}); }, "expected 3 dimensions");
  refuses([&] { einsum("ij,ik->jk", {x, y}); }, "index 'i' in \"ij,ik->jk\", got 2 and 3");
  refuses([&] { einsum("ii", {x}); }, "index 'i'");
  refuses([&] { einsum("ij,jk", {x, to(y, DType::f64)}); }, "[einsum]");
}

}  // namespace invar::test
