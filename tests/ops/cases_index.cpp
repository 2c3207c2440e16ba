// Indexing, joining, padding: against loops over coordinates.
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstring>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

Dims with(Dims i, int dim, double value) {
  i[dim] = static_cast<std::int64_t>(value);
  return i;
}

/// x with every src element added at its index.
Tensor naive_scatter(const Tensor& x, int dim, const Tensor& index, const Tensor& src) {
  const Tensor out = clone(x.detach());
  from_coordinates(index.shape(), [&](const Dims& i) {
    const Dims to = with(i, dim, at(index, i));
    std::int64_t offset = 0;
    for (int d = 0; d < out.dim(); ++d) offset += to[d] * out.strides()[d];
    out.data<double>()[offset] += at(src, i);
    return 0.0;
  });
  return out;
}

void add_gathering(OpCases& all) {
  const auto add_gather = [&](const Dims& x, int dim, const Dims& indices) {
    all.push_back({.name = fmt::format("gather {} {} {}", x, dim, indices),
                   .inputs = {real(x), index(indices, std::max<std::int64_t>(x[dim], 1))},
                   .f = [dim](const Tensors& x) { return gather(x[0], dim, x[1]); },
                   .reference = [dim](const Tensors& x) -> Tensors {
                     return {from_coordinates(x[1].shape(), [&](const Dims& i) {
                       return at(x[0], with(i, dim, at(x[1], i)));
                     })};
                   }});
    all.push_back(
        {.name = fmt::format("scatter_add {} {} {}", x, dim, indices),
         .inputs = {real(x), index(indices, std::max<std::int64_t>(x[dim], 1)), real(indices)},
         .f = [dim](const Tensors& x) { return scatter_add(x[0], dim, x[1], x[2]); },
         .reference = [dim](const Tensors& x) -> Tensors {
           return {naive_scatter(x[0], dim, x[1], x[2])};
         }});
  };
  add_gather({4}, 0, {7});
  add_gather({1}, 0, {1});
  add_gather({3, 4}, 0, {5, 4});
  add_gather({3, 4}, 1, {3, 6});
  add_gather({3, 4}, 0, {2, 2});
  add_gather({3, 4}, 1, {1, 1});
  add_gather({2, 3, 4}, 1, {2, 5, 4});
  add_gather({2, 3, 4}, 0, {3, 2, 1});
  add_gather({2, 3, 4}, 2, {2, 3, 9});
  add_gather({3, 4}, 0, {0, 4});
  add_gather({3, 0}, 0, {2, 0});
  add_gather({0, 3}, 0, {0, 3});
  add_gather({40, 150}, 0, {150, 150});  // several pieces of work
  add_gather({150, 40}, 1, {150, 150});

  const auto add_select = [&](const Dims& x, int dim, std::int64_t count) {
    all.push_back({.name = fmt::format("index_select {} {} {}", x, dim, count),
                   .inputs = {real(x), index({count}, std::max<std::int64_t>(x[dim], 1))},
                   .f = [dim](const Tensors& x) { return index_select(x[0], dim, x[1]); },
                   .reference = [dim](const Tensors& x) -> Tensors {
                     Dims shape = x[0].shape();
                     shape[dim] = x[1].numel();
                     return {from_coordinates(shape, [&](const Dims& i) {
                       return at(x[0], with(i, dim, at(x[1], {i[dim]})));
                     })};
                   }});
  };
  add_select({4}, 0, 6);
  add_select({3, 4}, 0, 5);
  add_select({3, 4}, 1, 5);
  add_select({2, 3, 4}, 1, 4);
  add_select({2, 3, 4}, 2, 1);
  add_select({3, 4}, 0, 0);
  add_select({0, 4}, 0, 0);
  add_select({3, 0}, 0, 2);
  add_select({1, 1}, 0, 3);
  add_select({30, 90}, 0, 200);
  add_select({90, 30}, 1, 200);

  for (const Dims& indices : {Dims{}, Dims{5}, Dims{2, 3}, Dims{0}, Dims{2, 0}}) {
    all.push_back({.name = fmt::format("embedding {}", indices),
                   .inputs = {real({4, 3}), index(indices, 4)},
                   .f = [](const Tensors& x) { return embedding(x[0], x[1]); },
                   .reference = [](const Tensors& x) -> Tensors {
                     Dims shape = x[1].shape();
                     shape.push_back(3);
                     return {from_coordinates(shape, [&](Dims i) {
                       const std::int64_t column = i.back();
                       i.erase(i.size() - 1);
                       return at(x[0], {static_cast<std::int64_t>(at(x[1], i)), column});
                     })};
                   }});
    all.push_back({.name = fmt::format("one_hot {}", indices),
                   .inputs = {index(indices, 4)},
                   .f = [](const Tensors& x) { return one_hot(x[0], 4); },
                   .reference = [](const Tensors& x) -> Tensors {
                     Dims shape = x[0].shape();
                     shape.push_back(4);
                     return {to(from_coordinates(shape,
                                                 [&](Dims i) {
                                                   const auto c = static_cast<double>(i.back());
                                                   i.erase(i.size() - 1);
                                                   return at(x[0], i) == c ? 1.0 : 0.0;
                                                 }),
                                DType::i64)};
                   }});
  }
}

void add_selecting_by_mask(OpCases& all) {
  const auto add_masked = [&](const Dims& x, const Dims& where) {
    all.push_back(
        {.name = fmt::format("masked_select {} {}", x, where),
         .inputs = {real(x), mask(where)},
         .f = [](const Tensors& x) { return masked_select(x[0], x[1]); },
         .reference = [](const Tensors& x) -> Tensors {
           const Dims shape = broadcast_shapes(x[0].shape(), x[1].shape(), "naive");
           const Tensor values = expand(x[0], shape), wanted = expand(x[1], shape);
           std::vector<double> found;
           from_coordinates(shape, [&](const Dims& i) {
             if (at(wanted, i) != 0) found.push_back(at(values, i));
             return 0.0;
           });
           return {tensor(found, {static_cast<std::int64_t>(found.size())}, {.dtype = DType::f64})};
         }});
  };
  add_masked({2, 3, 4}, {2, 3, 4});
  add_masked({2, 3}, {3});
  add_masked({3}, {2, 3});
  add_masked({2, 1}, {1, 5});
  add_masked({}, {});
  add_masked({0, 3}, {3});
  for (const Dims& shape : {Dims{7}, Dims{2, 3}, Dims{2, 1, 5}, Dims{}, Dims{0}, Dims{3, 0}}) {
    all.push_back({.name = fmt::format("nonzero {}", shape),
                   .inputs = {mask(shape)},
                   .f = [](const Tensors& x) { return nonzero(x[0]); },
                   .reference = [](const Tensors& x) -> Tensors {
                     std::vector<double> found;
                     std::int64_t count = 0;
                     from_coordinates(x[0].shape(), [&](const Dims& i) {
                       if (at(x[0], i) != 0) {
                         ++count;
                         for (std::int64_t c : i) found.push_back(static_cast<double>(c));
                       }
                       return 0.0;
                     });
                     return {tensor(found, {count, x[0].dim()}, {.dtype = DType::i64})};
                   }});
  }
}

void add_joining(OpCases& all) {
  const auto add_joined = [&](const std::vector<Dims>& shapes, int dim) {
    OpCase c{.name = fmt::format("cat along {} {}", dim, fmt::join(shapes, " ")),
             .inputs = {},
             .f = [dim](const Tensors& x) { return cat(x, dim); },
             .reference = [dim](const Tensors& x) -> Tensors {
               Dims shape = x[0].shape();
               const int d = dim < 0 ? dim + shape.size() : dim;
               shape[d] = 0;
               for (const Tensor& part : x) shape[d] += part.shape()[d];
               return {from_coordinates(shape, [&](Dims i) {
                 std::size_t k = 0;
                 while (i[d] >= x[k].shape()[d]) i[d] -= x[k++].shape()[d];
                 return at(x[k], i);
               })};
             }};
    for (const Dims& shape : shapes) c.inputs.push_back(real(shape));
    all.push_back(c);
  };
  add_joined({{3}}, 0);
  add_joined({{3}, {2}}, 0);
  add_joined({{2, 3}, {1, 3}, {4, 3}}, 0);
  add_joined({{2, 3}, {2, 1}}, 1);
  add_joined({{2, 3, 2}, {2, 1, 2}, {2, 2, 2}}, -2);
  add_joined({{2, 3}, {0, 3}, {1, 3}}, 0);
  add_joined({{2, 0}, {3, 0}}, 0);
  for (const int dim : {0, 1, -1}) {
    for (const Dims& shape : {Dims{2, 3}, Dims{3}, Dims{0, 2}, Dims{}}) {
      if (shape.empty() && dim == 1) continue;
      all.push_back({.name = fmt::format("stack {} {}", shape, dim),
                     .inputs = {real(shape), real(shape), real(shape)},
                     .f = [dim](const Tensors& x) { return stack(x, dim); },
                     .reference = [dim](const Tensors& x) -> Tensors {
                       Dims result = x[0].shape();
                       const int d = dim < 0 ? dim + result.size() + 1 : dim;
                       result.insert(d, 3);
                       return {from_coordinates(result, [&](Dims i) {
                         const auto k = static_cast<std::size_t>(i[d]);
                         i.erase(d);
                         return at(x[k], i);
                       })};
                     }});
    }
  }
  all.push_back(
      {.name = "cat of one tensor twice", .inputs = {real({2, 3})}, .f = [](const Tensors& x) {
         return cat({x[0], x[0] * x[0]}, 1);
       }});
}

void add_rearranging(OpCases& all) {
  const auto add_repeat = [&](const Dims& x, const Dims& repeats) {
    all.push_back({.name = fmt::format("repeat {} {}", x, repeats),
                   .inputs = {real(x)},
                   .f = [repeats](const Tensors& x) { return repeat(x[0], repeats); },
                   .reference = [repeats](const Tensors& x) -> Tensors {
                     const int lead = repeats.size() - x[0].dim();
                     Dims shape = repeats;
                     for (int d = lead; d < shape.size(); ++d) shape[d] *= x[0].shape()[d - lead];
                     return {from_coordinates(shape, [&](const Dims& i) {
                       Dims from;
                       for (int d = lead; d < i.size(); ++d) {
                         from.push_back(i[d] % x[0].shape()[d - lead]);
                       }
                       return at(x[0], from);
                     })};
                   }});
  };
  add_repeat({3}, {2});
  add_repeat({3}, {2, 1});
  add_repeat({2, 3}, {2, 3});
  add_repeat({2, 3, 2}, {1, 2, 2});
  add_repeat({2, 1, 3}, {2, 2, 1, 2});
  add_repeat({}, {3});
  add_repeat({}, {});
  add_repeat({2, 3}, {0, 2});
  add_repeat({0, 3}, {2, 2});
  add_repeat({1, 2, 1, 2, 1, 2, 1, 2}, {1, 1, 2, 1, 1, 1, 1, 2});

  const auto add_flip = [&](const Dims& x, const Dims& dims) {
    all.push_back({.name = fmt::format("flip {} {}", x, dims),
                   .inputs = {real(x)},
                   .f = [dims](const Tensors& x) { return flip(x[0], dims); },
                   .reference = [dims](const Tensors& x) -> Tensors {
                     return {from_coordinates(x[0].shape(), [&](Dims i) {
                       for (std::int64_t dim : dims) {
                         const auto d = static_cast<int>(dim < 0 ? dim + i.size() : dim);
                         i[d] = x[0].shape()[d] - 1 - i[d];
                       }
                       return at(x[0], i);
                     })};
                   }});
  };
  add_flip({4}, {0});
  add_flip({2, 3, 4}, {0});
  add_flip({2, 3, 4}, {-1});
  add_flip({2, 3, 4}, {0, 2});
  add_flip({2, 3, 4}, {2, 1, 0});
  add_flip({2, 3, 4}, {});
  add_flip({0, 3}, {1});
  add_flip({1, 3}, {0});

  using Sizes = std::vector<std::int64_t>;
  const auto add_pad = [&](const Dims& x, const Sizes& sizes, PadMode mode) {
    constexpr const char* kNames[] = {"constant", "reflect", "replicate"};
    all.push_back({.name = fmt::format("pad {} {} by {}", kNames[static_cast<int>(mode)], x,
                                       fmt::join(sizes, ",")),
                   .inputs = {real(x)},
                   .f = [sizes, mode](const Tensors& x) { return pad(x[0], sizes, mode, 0.5); },
                   .reference = [sizes, mode](const Tensors& x) -> Tensors {
                     Dims shape = x[0].shape(), before = Dims::filled(shape.size(), 0);
                     for (std::size_t k = 0; k < sizes.size(); k += 2) {
                       const int d = shape.size() - 1 - static_cast<int>(k / 2);
                       before[d] = sizes[k];
                       shape[d] += sizes[k] + sizes[k + 1];
                     }
                     return {from_coordinates(shape, [&](Dims i) {
                       for (int d = 0; d < i.size(); ++d) {
                         const std::int64_t n = x[0].shape()[d];
                         i[d] -= before[d];
                         const bool outside = i[d] < 0 || i[d] >= n;
                         if (outside && mode == PadMode::constant) return 0.5;
                         if (mode == PadMode::replicate)
                           i[d] = std::clamp<std::int64_t>(i[d], 0, n - 1);
                         if (outside && mode == PadMode::reflect) {
                           i[d] = i[d] < 0 ? -i[d] : 2 * (n - 1) - i[d];
                         }
                       }
                       return at(x[0], i);
                     })};
                   }});
  };
  for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::replicate}) {
    add_pad({4}, {1, 2}, mode);
    add_pad({3, 4}, {2, 0}, mode);
    add_pad({3, 4}, {1, 3, 2, 1}, mode);
    add_pad({2, 3, 4}, {0, 0, 2, 2}, mode);
    add_pad({2, 3, 4}, {-1, 2, 1, -2}, mode);
    add_pad({2, 3, 4}, {-1, -3}, mode);
    add_pad({2, 3, 2, 2}, {1, 1, 1, 0, 2, 1, 0, 1}, mode);
    add_pad({2, 3}, {}, mode);
    add_pad({}, {}, mode);
    add_pad({0, 3}, {1, 1}, mode);
  }
  add_pad({1, 1}, {3, 4, 5, 6}, PadMode::constant);
  add_pad({1, 1}, {3, 4, 5, 6}, PadMode::replicate);
  add_pad({0}, {2, 1}, PadMode::constant);
  add_pad({3}, {-4, 3}, PadMode::constant);
}

OpCases cases() {
  OpCases all;
  add_gathering(all);
  add_selecting_by_mask(all);
  add_joining(all);
  add_rearranging(all);
  return all;
}

}  // namespace

TEST_CASE("index: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("index: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("index: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("index: every dtype", "[unit]") {
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    INFO(name_of(dtype));
    const Tensor x = to(tensor({0, 1, 1, 0}), dtype);
    const Tensor order = to(tensor({3, 1, 1}), DType::i64);
    const auto is = [&](const Tensor& got, std::initializer_list<double> expected) {
      CHECK(got.dtype() == dtype);
      REQUIRE(got.numel() == static_cast<std::int64_t>(expected.size()));
      for (std::int64_t i = 0; i < got.numel(); ++i) CHECK(at(got, {i}) == expected.begin()[i]);
    };
    is(gather(x, 0, order), {0, 1, 1});
    is(index_select(x, 0, order), {0, 1, 1});
    is(masked_select(x, ne(x, 0)), {1, 1});
    is(cat({x, slice(x, 0, 1, 2)}), {0, 1, 1, 0, 1});
    is(pad(x, {1, 0}, PadMode::constant, 1), {1, 0, 1, 1, 0});
    is(pad(x, {1, 0}, PadMode::reflect), {1, 0, 1, 1, 0});
    is(flip(x, {0}), {0, 1, 1, 0});
    is(repeat(slice(x, 0, 0, 2), {2}), {0, 1, 0, 1});
    CHECK(nonzero(x).shape() == Dims{2, 1});
  }
  CHECK(nonzero(full({1}, 1e-300, {.dtype = DType::f64})).size(0) == 1);
  CHECK(nonzero(full({1}, NAN)).size(0) == 1);
  const Tensor counts =
      scatter_add(zeros({3}, {.dtype = DType::i64}), 0, to(tensor({0, 2, 2, 2}), DType::i64),
                  ones({4}, {.dtype = DType::i64}));
  CHECK(at(counts, {0}) == 1);
  CHECK(at(counts, {1}) == 0);
  CHECK(at(counts, {2}) == 3);
  CHECK(cat({ones({1}, {.dtype = DType::i64}), ones({1})}).dtype() == DType::f32);
}

TEST_CASE("scatter_add has the same bits for any number of threads", "[unit]") {
  const int threads = omp_get_max_threads();
  Generator generator(7);
  for (const int dim : {0, 1}) {
    const Tensor indices = randint(0, 5, {400, 300}, {.dtype = DType::i64}, generator);
    const Tensor src = randn({400, 300}, {}, generator);
    const Tensor x = zeros(dim == 0 ? Dims{5, 300} : Dims{400, 5});
    omp_set_num_threads(1);
    const Tensor one = scatter_add(x, dim, indices, src);
    omp_set_num_threads(3);
    const Tensor three = scatter_add(x, dim, indices, src);
    omp_set_num_threads(threads);
    CHECK(std::memcmp(one.raw_data(), three.raw_data(),
                      static_cast<std::size_t>(one.numel()) * sizeof(float)) == 0);
  }
}

TEST_CASE("index: what it refuses", "[unit]") {
  const auto refuses = [](const auto& f, const char* text) {
    INFO(text);
    CHECK_THROWS_AS(f(), Error);
    CHECK_THROWS_WITH(f(), ContainsSubstring(text));
  };
  const auto i64 = [](std::initializer_list<double> values) {
    return tensor(values, {.dtype = DType::i64});
  };
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const Tensor x = ones({2, 3});
  refuses(
      [&] {
        index_select(x, 1, i64({0, 3}));
      },
      "[index_select] expected indices in [0, 3), got 3");
  refuses([&] { index_select(x, 0, i64({-1})); }, "in [0, 2), got -1");
  refuses([&] { index_select(x, 0, tensor({1})); }, "expected indices of dtype i64, got f32");
  refuses([&] { index_select(x, 0, unsqueeze(i64({1}), 0)); }, "1-D index");
  refuses([&] { index_select(x, 2, i64({0})); }, "expected a dimension");
  refuses([&] { index_select(ones({}), 0, i64({0})); }, "at least one dimension");
  refuses([&] { index_select(zeros({0, 3}), 0, i64({0})); }, "in [0, 0), got 0");
  refuses([&] { gather(x, 1, full({2, 2}, 5, {.dtype = DType::i64})); }, "in [0, 3), got 5");
  refuses([&] { gather(x, 1, zeros({3, 1}, {.dtype = DType::i64})); }, "no larger than x");
  refuses([&] { gather(x, 1, i64({0})); }, "as many dimensions");
  refuses([&] { gather(x, 1, zeros({2, 1})); }, "dtype i64");
  refuses(
      [&] {
        scatter_add(x, 1, zeros({2, 1}, {.dtype = DType::i64}), ones({2, 2}));
      },
      "expected src of shape [2, 1]");
  refuses(
      [&] {
        scatter_add(x, 1, full({2, 1}, 3, {.dtype = DType::i64}), ones({2, 1}));
      },
      "in [0, 3), got 3");
  refuses([&] { embedding(x, i64({2})); }, "[embedding] expected indices in [0, 2), got 2");
  refuses([&] { embedding(ones({3}), i64({2})); }, "expected weight [count, width]");
  refuses([&] { one_hot(i64({4}), 4); }, "[one_hot] expected indices in [0, 4), got 4");
  refuses([&] { masked_select(x, x); }, "dtype bool");
  refuses([&] { masked_select(x, full({2}, 1, {.dtype = DType::boolean})); }, "broadcast");
  refuses([&] { cat({}); }, "at least one tensor");
  refuses([&] { cat({ones({})}); }, "use stack");
  refuses([&] { cat({x, ones({2, 2})}); }, "[cat] expected equal shapes but for dimension 0");
  refuses([&] { cat({x, ones({2})}); }, "equal shapes");
  refuses([&] { cat({x}, 2); }, "expected a dimension");
  refuses([&] { stack({}); }, "at least one tensor");
  refuses([&] { stack({x, ones({3, 2})}); }, "[stack] expected equal shapes");
  refuses([&] { stack({x}, 3); }, "[stack] expected a dimension");
  refuses([&] { repeat(x, {2}); }, "at least 2 repeats");
  refuses([&] { repeat(x, {2, -1}); }, "repeats of at least 0");
  refuses([&] { flip(x, {0, -2}); }, "each dimension once");
  refuses([&] { flip(x, {2}); }, "expected a dimension");
  refuses([&] { flip(x, {std::int64_t{1} << 32}); }, "expected a dimension");
  refuses([&] { repeat(x, {kLargest, 2}); }, "at most 2^60 elements");
  refuses([&] { pad(x, {kLargest, 1}); }, "expected sizes within 2^61");
  refuses([&] { pad(x, {-kLargest - 1, 1}); }, "expected sizes within 2^61");
  refuses([&] { pad(x, {1}); }, "expected sizes before and after");
  refuses([&] { pad(x, {1, 1, 1, 1, 1, 1}); }, "for at most 2 dimensions");
  refuses([&] { pad(x, {-2, -2}); }, "expected to crop at most the 3");
  refuses([&] { pad(x, {3, 0}, PadMode::reflect); }, "reflections of less than the 3");
  refuses([&] { pad(zeros({2, 0}), {1, 0}, PadMode::replicate); }, "an element to replicate");
  refuses([&] { pad(zeros({2, 0}), {1, 0}, PadMode::reflect); }, "less than the 0");
}

}  // namespace invar::test
