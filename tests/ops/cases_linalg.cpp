// Factorisations, solves, triangles and diagonals.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/autograd/engine.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/cpu/blas.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

#include "op_case.hpp"

namespace invar::test {
namespace {

using Catch::Matchers::ContainsSubstring;

/// Symmetric positive definite, whatever x is.
Tensor positive(const Tensor& x) {
  return matmul(x, transpose(x)) + eye(x.size(-1), -1, x.options());
}

/// Cholesky's algorithm, column by column.
Tensor naive_cholesky(const Tensor& matrices) {
  const Tensor l = zeros(matrices.shape(), {.dtype = DType::f64});
  const std::int64_t n = matrices.size(-1), count = n == 0 ? 0 : matrices.numel() / (n * n);
  const Tensor dense = contiguous(matrices);
  for (std::int64_t matrix = 0; matrix < count; ++matrix) {
    const double* const x = dense.data<double>() + matrix * n * n;
    double* const y = l.data<double>() + matrix * n * n;
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t i = j; i < n; ++i) {
        double rest = x[i * n + j];
        for (std::int64_t k = 0; k < j; ++k) rest -= y[i * n + k] * y[j * n + k];
        y[i * n + j] = i == j ? std::sqrt(rest) : rest / y[j * n + j];
      }
    }
  }
  return l;
}

OpCases cases() {
  OpCases all;
  for (const Dims& shape : {Dims{1, 1}, Dims{4, 4}, Dims{2, 3, 3}, Dims{2, 1, 3, 3}, Dims{0, 0},
                            Dims{0, 2, 2}, Dims{2, 0, 0}}) {
    all.push_back(
        {.name = fmt::format("cholesky {}", shape),
         .inputs = {real(shape)},
         .f = [](const Tensors& x) { return cholesky(positive(x[0])); },
         .reference = [](const Tensors& x) -> Tensors { return {naive_cholesky(positive(x[0]))}; },
         .bf16_tolerance = 0});
    all.push_back({.name = fmt::format("logdet {}", shape),
                   .inputs = {real(shape)},
                   .f = [](const Tensors& x) { return logdet(positive(x[0])); },
                   .reference = [](const Tensors& x) -> Tensors {
                     const Tensor l = naive_cholesky(positive(x[0]));
                     Dims batch(std::span(l.shape().begin(), l.shape().end() - 2));
                     return {from_coordinates(batch, [&](Dims i) {
                       double log_det = 0;
                       i.push_back(0);
                       i.push_back(0);
                       for (std::int64_t d = 0; d < l.size(-1); ++d) {
                         i[i.size() - 2] = i[i.size() - 1] = d;
                         log_det += 2 * std::log(at(l, i));
                       }
                       return log_det;
                     })};
                   },
                   .bf16_tolerance = 0});
  }
  // Larger than LAPACK's blocks. In f32 the error grows with the condition number.
  all.push_back(
      {.name = "cholesky of a large matrix",
       .inputs = {real({150, 150}, -0.1, 0.1)},
       .f = [](const Tensors& x) { return cholesky(positive(x[0])); },
       .reference = [](const Tensors& x) -> Tensors { return {naive_cholesky(positive(x[0]))}; },
       .bf16_tolerance = 0});

  // The other triangle holds numbers that must not be read.
  const auto add_solve = [&](const Dims& a, const Dims& b, bool upper, bool left) {
    all.push_back({.name = fmt::format("solve_triangular {} {}{}{}", a, b, upper ? " upper" : "",
                                       left ? "" : " from the right"),
                   .inputs = {real(a, -0.5, 0.5), real(b)},
                   .f =
                       [=](const Tensors& x) {
                         const Tensor shifted = x[0] + eye(a.back(), -1, x[0].options()) * 2;
                         return solve_triangular(shifted, x[1], upper, left);
                       },
                   .bf16_tolerance = 0});
  };
  for (const bool upper : {false, true}) {
    for (const bool left : {false, true}) {
      const auto rhs = [&](Dims batch, std::int64_t n, std::int64_t m) {
        batch.push_back(left ? n : m);
        batch.push_back(left ? m : n);
        return batch;
      };
      add_solve({4, 4}, rhs({}, 4, 3), upper, left);
      add_solve({1, 1}, rhs({}, 1, 2), upper, left);
      add_solve({3, 3}, rhs({}, 3, 1), upper, left);
      add_solve({2, 3, 3}, rhs({2}, 3, 2), upper, left);
      add_solve({3, 3}, rhs({2}, 3, 2), upper, left);
      add_solve({2, 1, 3, 3}, rhs({2}, 3, 2), upper, left);
      add_solve({0, 0}, rhs({}, 0, 2), upper, left);
      add_solve({3, 3}, rhs({}, 3, 0), upper, left);
      add_solve({0, 2, 2}, rhs({0}, 2, 2), upper, left);
      add_solve({10, 10}, rhs({}, 10, 300), upper, left);  // more columns than a block
    }
  }

  // Of symmetric matrices whose eigenvalues are some way apart. Vectors have signs of their own, so
  // functions of them that do not see these.
  const auto symmetric = [](const Tensor& x) {
    const Tensor steps = arange(0, static_cast<double>(x.size(-1)), 1, x.options());
    return (x + transpose(x)) * 0.2 + diag(steps * 2);
  };
  for (const Dims& shape :
       {Dims{1, 1}, Dims{4, 4}, Dims{2, 3, 3}, Dims{2, 1, 3, 3}, Dims{0, 2, 2}}) {
    all.push_back({.name = fmt::format("eigvalsh {}", shape),
                   .inputs = {real(shape)},
                   .f = [=](const Tensors& x) { return eigvalsh(symmetric(x[0])); },
                   .bf16_tolerance = 0});
    all.push_back({.name = fmt::format("eigh {}", shape),
                   .inputs = {real(shape)},
                   .f =
                       [=](const Tensors& x) {
                         const auto [values, vectors] = eigh(symmetric(x[0]));
                         const Tensor weights =
                             arange(1, static_cast<double>(shape.back() + 1), 1, x[0].options());
                         return Tensors{square(vectors),
                                        matmul(vectors * unsqueeze(exp(values * 0.1) * weights, -2),
                                               transpose(vectors))};
                       },
                   .bf16_tolerance = 0});
  }
  for (const Dims& shape : {Dims{1, 1}, Dims{3, 5}, Dims{5, 3}, Dims{2, 3, 4}, Dims{0, 2, 3}}) {
    all.push_back(
        {.name = fmt::format("svdvals {}", shape),
         .inputs = {real(shape)},
         .f =
             [=](const Tensors& x) {
               const std::int64_t n = shape[shape.size() - 2], m = shape.back();
               const Tensor steps = arange(1, static_cast<double>(n + 1), 1, x[0].options());
               return svdvals(x[0] * 0.2 + eye(n, m, x[0].options()) * unsqueeze(steps, 1));
             },
         .bf16_tolerance = 0});
  }

  const auto add = [&](const std::string& name, const Dims& shape, const Function& f,
                       const std::function<double(const Tensor&, const Dims&)>& element,
                       const Dims& result) {
    all.push_back({.name = fmt::format("{} {}", name, shape),
                   .inputs = {real(shape)},
                   .f = f,
                   .reference = [element, result](const Tensors& x) -> Tensors {
                     return {
                         from_coordinates(result, [&](const Dims& i) { return element(x[0], i); })};
                   }});
  };
  const auto keep_lower = [](std::int64_t offset) {
    return [offset](const Tensor& x, const Dims& i) {
      return i[i.size() - 1] - i[i.size() - 2] <= offset ? at(x, i) : 0.0;
    };
  };
  const auto keep_upper = [](std::int64_t offset) {
    return [offset](const Tensor& x, const Dims& i) {
      return i[i.size() - 1] - i[i.size() - 2] >= offset ? at(x, i) : 0.0;
    };
  };
  for (const Dims& shape :
       {Dims{4, 4}, Dims{2, 5}, Dims{5, 2}, Dims{2, 3, 4}, Dims{1, 1}, Dims{0, 3}, Dims{3, 0}}) {
    for (const std::int64_t offset : {0, 1, -1, 9, -9}) {
      add(
          fmt::format("tril {}", offset), shape,
          [offset](const Tensors& x) { return tril(x[0], offset); }, keep_lower(offset), shape);
      add(
          fmt::format("triu {}", offset), shape,
          [offset](const Tensors& x) { return triu(x[0], offset); }, keep_upper(offset), shape);
    }
  }
  const auto add_diagonal = [&](const Dims& shape, std::int64_t offset, const Dims& result) {
    const auto element = [offset](const Tensor& x, Dims i) {
      const std::int64_t at_diagonal = i.back();
      i[i.size() - 1] = at_diagonal + std::max<std::int64_t>(0, -offset);
      i.push_back(at_diagonal + std::max<std::int64_t>(0, offset));
      return at(x, i);
    };
    add(
        fmt::format("diagonal {}", offset), shape,
        [offset](const Tensors& x) { return diagonal(x[0], offset, -2, -1); }, element, result);
    if (shape.size() == 2) {
      add(
          fmt::format("diag {}", offset), shape,
          [offset](const Tensors& x) { return diag(x[0], offset); }, element, result);
    }
  };
  add_diagonal({4, 4}, 0, {4});
  add_diagonal({4, 4}, 1, {3});
  add_diagonal({4, 4}, -2, {2});
  add_diagonal({2, 5}, 3, {2});
  add_diagonal({2, 5}, 5, {0});
  add_diagonal({5, 2}, -7, {0});
  add_diagonal({0, 3}, 0, {0});
  add_diagonal({2, 3, 4}, 0, {2, 3});
  add_diagonal({2, 1, 3, 3}, -1, {2, 1, 2});
  add(
      "diagonal of other dimensions", {3, 2, 4},
      [](const Tensors& x) { return diagonal(x[0], 1, 2, 0); },
      [](const Tensor& x, const Dims& i) {
        return at(x, {i[1] + 1, i[0], i[1]});
      },
      {2, 2});
  for (const std::int64_t offset : {0, 2, -1}) {
    for (const std::int64_t n : {0, 1, 3}) {
      const std::int64_t size = n + std::abs(offset);
      add(
          fmt::format("diag to a matrix {}", offset), {n},
          [offset](const Tensors& x) { return diag(x[0], offset); },
          [offset](const Tensor& x, const Dims& i) {
            return i[1] - i[0] == offset ? at(x, {std::min(i[0], i[1])}) : 0.0;
          },
          {size, size});
    }
  }
  add(
      "trace", {3, 5}, [](const Tensors& x) { return trace(x[0]); },
      [](const Tensor& x, const Dims&) {
        return at(x, {0, 0}) + at(x, {1, 1}) + at(x, {2, 2});
      },
      {});
  return all;
}

double largest(const Tensor& x) {
  double most = 0;
  const Tensor dense = contiguous(to(x, DType::f64));
  for (std::int64_t i = 0; i < dense.numel(); ++i) {
    most = std::max(most, std::abs(dense.data<double>()[i]));
  }
  return most;
}

}  // namespace

TEST_CASE("linalg: gradients", "[gradcheck]") { check_gradients(cases()); }
TEST_CASE("linalg: values, f32, layouts", "[unit]") { check_values(cases()); }
TEST_CASE("linalg: on a GPU", "[cuda]") { check_on_gpu(cases()); }

TEST_CASE("solve_triangular solves", "[unit]") {
  Generator generator(5);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double tolerance = dtype == DType::f32 ? 1e-5 : 1e-13;
    const Tensor a =
        rand({3, 6, 6}, {.dtype = dtype}, generator) + eye(6, -1, {.dtype = dtype}) * 3;
    const Tensor b = randn({3, 6, 200}, {.dtype = dtype}, generator);
    for (const bool upper : {false, true}) {
      const Tensor triangle = upper ? triu(a) : tril(a);
      CHECK(largest(matmul(triangle, solve_triangular(a, b, upper)) - b) < tolerance);
      // The transpose, which is read in place.
      const Tensor y = solve_triangular(transpose(a), b, !upper);
      CHECK(largest(matmul(transpose(triangle), y) - b) < tolerance);
      const Tensor z = solve_triangular(a, transpose(b), upper, /*left=*/false);
      CHECK(largest(matmul(z, triangle) - transpose(b)) < tolerance);
    }
  }
}

TEST_CASE("eigh, eigvalsh and svdvals", "[unit]") {
  Generator generator(6);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double tolerance = dtype == DType::f32 ? 1e-4 : 1e-12;
    for (const Dims& shape :
         {Dims{1, 1}, {5, 5}, {70, 70}, {3, 4, 4}, {2, 1, 3, 3}, {0, 2, 2}, {2, 0, 0}}) {
      const Tensor a = randn(shape, {.dtype = dtype}, generator);
      const Tensor x = a + transpose(a);
      const auto [values, vectors] = eigh(x);
      CHECK(largest(matmul(vectors * unsqueeze(values, -2), transpose(vectors)) - x) < tolerance);
      CHECK(largest(matmul(transpose(vectors), vectors) - eye(shape.back(), -1, {.dtype = dtype})) <
            tolerance);
      CHECK(largest(eigvalsh(x) - values) < tolerance);
      CHECK(largest(eigvalsh(tril(x)) - values) < tolerance);  // reads the lower triangle only
      CHECK(largest(eigvalsh(transpose(x)) - values) < tolerance);
      if (shape.back() > 1)
        CHECK(all(ge(narrow(values, -1, 1, shape.back() - 1),
                     narrow(values, -1, 0, shape.back() - 1)))
                  .item<bool>());
    }
    // The squares of the singular values are the eigenvalues of x x^T, ascending.
    for (const Dims& shape : {Dims{1, 1}, {3, 7}, {7, 3}, {2, 4, 6}, {40, 90}, {0, 3}, {3, 0}}) {
      const Tensor x = randn(shape, {.dtype = dtype}, generator);
      const bool wide = x.size(-2) <= x.size(-1);
      const Tensor square_matrix = wide ? matmul(x, transpose(x)) : matmul(transpose(x), x);
      CHECK(largest(flip(square(svdvals(x)), {x.dim() - 2}) - eigvalsh(square_matrix)) <
            tolerance * 100);
      CHECK(largest(svdvals(transpose(x)) - svdvals(x)) < tolerance);
    }
  }
  const Tensor known = tensor(std::vector<double>{2, 1, 1, 2}, {2, 2}, {.dtype = DType::f64});
  CHECK(std::abs(at(eigvalsh(known), {0}) - 1) < 1e-14);
  CHECK(std::abs(at(eigvalsh(known), {1}) - 3) < 1e-14);
}

TEST_CASE("a second gradient through equal eigenvalues is refused", "[gradcheck]") {
  const Tensor x = eye(2, -1, {.dtype = DType::f64}).requires_grad_();
  for (const auto& values : {+[](const Tensor& a) { return eigvalsh(a); },
                             +[](const Tensor& a) { return eigh(a).values; }}) {
    CHECK(largest(grad({sum(square(values(x)))}, {x})[0] - x.detach() * 2) < 1e-12);
    CHECK_THROWS_AS(grad({sum(square(values(x)))}, {x}, {}, {.create_graph = true}), Error);
  }
}

TEST_CASE("gradients where eigenvalues repeat", "[gradcheck]") {
  constexpr TensorOptions kDouble{.dtype = DType::f64};
  Generator generator(7);
  // Eigenvalues 2, 2, 2, 5 along random directions.
  const Tensor q = eigh(positive(randn({4, 4}, kDouble, generator))).vectors;
  const Tensor x = matmul(q * tensor({2, 2, 2, 5}, kDouble), transpose(q));
  const auto slope = [&](const auto& f) {
    const Tensor leaf = x.detach().requires_grad_();
    f(leaf).backward();
    return leaf.grad();
  };
  // The sum of h(l) has the gradient h'(x), however the vectors of the 2s were chosen.
  const Tensor cubes = slope([](const Tensor& a) { return sum(pow(eigvalsh(a), 3)); });
  CHECK(largest(cubes - matmul(x, x) * 3) < 1e-12);
  // The projection onto the vector of the 5, which is not repeated: against differences.
  const Tensor weights = randn({4, 4}, kDouble, generator);
  const auto projection = [&](const Tensor& a) {
    const Tensor v = narrow(eigh(a).vectors, -1, 3, 1);
    return sum(matmul(v, transpose(v)) * weights);
  };
  const Tensor first = slope(projection);
  const Tensor half = randn({4, 4}, kDouble, generator), direction = half + transpose(half);
  const double step = 1e-5;
  const double difference =
      (projection(x + direction * step) - projection(x - direction * step)).item() / (2 * step);
  CHECK(std::abs(sum(first * direction).item() - difference) < 1e-8);
  // One of the vectors of the 2s is told apart by what rounding has left of their distance.
  const Tensor one =
      slope([](const Tensor& a) { return sum(pow(select(eigh(a).vectors, -1, 0), 3)); });
  CHECK_FALSE(largest(one) < 1e9);
  // Second gradients through the values.
  const auto second = [](const Tensor& a, const auto& values) {
    const Tensor leaf = a.detach().requires_grad_();
    const Tensor g = grad({sum(pow(values(leaf), 3))}, {leaf}, {}, {.create_graph = true})[0];
    return grad({sum(square(g))}, {leaf})[0];
  };
  CHECK_THROWS_WITH(second(x, eigvalsh), ContainsSubstring("[eigvalsh] expected distinct values"));
  CHECK_THROWS_WITH(second(x, svdvals), ContainsSubstring("[svdvals] expected distinct values"));
  const Tensor singular = diag(tensor({3, 1, 0}, kDouble));
  CHECK_THROWS_WITH(second(singular, svdvals), ContainsSubstring("equal or 0"));
  CHECK_NOTHROW(second(singular, eigvalsh));
  // At the singular value 0 a first gradient is no more than finite.
  const Tensor leaf = singular.detach().requires_grad_();
  sum(svdvals(leaf)).backward();
  CHECK(largest(leaf.grad()) <= 1 + 1e-12);
}

TEST_CASE("a workspace is large enough, though LAPACK tells its size as a float", "[unit]") {
  for (const int n : {1, 100, 2894, 2895, 2896, 3000, 4097, 20000}) {
    const int least = 1 + 6 * n + 2 * n * n;  // of eigenvectors; a float has 24 bits of it
    CHECK(cpu::blas::detail::workspace_size(static_cast<float>(least)) >= least);
    CHECK(cpu::blas::detail::workspace_size(static_cast<double>(least)) == least);
  }
}

TEST_CASE("cholesky reads the lower triangle only", "[unit]") {
  const Tensor x = tensor(std::vector<double>{4, NAN, 2, 5}, {2, 2}, {.dtype = DType::f64});
  const Tensor l = cholesky(x);
  CHECK(at(l, {0, 0}) == 2);
  CHECK(at(l, {0, 1}) == 0);
  CHECK(at(l, {1, 0}) == 1);
  CHECK(at(l, {1, 1}) == 2);
}

TEST_CASE("diagonal is a view", "[unit]") {
  const Tensor x = zeros({2, 3});
  fill_(diagonal(x, 1), 7);
  CHECK(at(x, {0, 1}) == 7);
  CHECK(at(x, {1, 2}) == 7);
  CHECK(sum(x).item() == 14);
  CHECK(diag(x, 1).storage() != x.storage());
}

TEST_CASE("diagonals and triangles far outside of the matrix", "[unit]") {
  constexpr std::int64_t kFar[] = {std::numeric_limits<std::int64_t>::min(),
                                   std::numeric_limits<std::int64_t>::max()};
  const Tensor x = ones({2, 3});
  for (const std::int64_t offset : kFar) {
    CHECK(diagonal(x, offset).shape() == Dims{0});
    CHECK(sum(tril(x, offset)).item() == (offset > 0 ? 6 : 0));
    CHECK(sum(triu(x, offset)).item() == (offset > 0 ? 0 : 6));
    CHECK_THROWS_AS(diag(ones({2}), offset), Error);
  }
}

TEST_CASE("linalg: what it refuses", "[unit]") {
  const auto refuses = [](const auto& f, const char* text) {
    INFO(text);
    CHECK_THROWS_AS(f(), Error);
    CHECK_THROWS_WITH(f(), ContainsSubstring(text));
  };
  const Tensor bad = diag(tensor({1, 2, -1, 4}));
  refuses([&] { cholesky(bad); }, "leading minor of order 3 is not positive");
  refuses([&] { cholesky(to(bad, DType::f64)); }, "leading minor of order 3 is not positive");
  refuses([&] { logdet(bad); }, "leading minor of order 3");
  refuses([&] { cholesky(full({2, 2}, NAN)); }, "leading minor of order 1");
  refuses([&] { cholesky(diag(tensor({1, INFINITY}))); }, "leading minor of order 2");
  const Tensor batch = clone(expand(eye(2), {3, 2, 2}));
  fill_(narrow(select(batch, 0, 1), 0, 1, 1), -5);
  refuses([&] { cholesky(batch); }, "number 1 of the batch) whose leading minor of order 2");
  refuses([&] { cholesky(ones({2, 3})); }, "[cholesky] expected square matrices");
  refuses([&] { cholesky(ones({2})); }, "square");
  refuses([&] { cholesky(eye(2, -1, {.dtype = DType::i64})); }, "expected dtype f32 or f64");
  refuses([&] { logdet(ones({2, 3})); }, "[logdet] expected square matrices");
  refuses([&] { eigh(ones({2, 3})); }, "[eigh] expected square matrices");
  refuses([&] { eigvalsh(full({2, 2}, NAN)); }, "[eigvalsh] expected finite numbers");
  refuses([&] { svdvals(full({2, 3}, INFINITY)); }, "[svdvals] expected finite numbers");
  refuses([&] { svdvals(ones({2})); }, "[svdvals] expected matrices");
  refuses([&] { solve_triangular(eye(3), ones({3}), true); }, "unsqueeze");
  refuses(
      [&] {
        solve_triangular(eye(3), ones({2, 3}), true);
      },
      "expected right-hand sides [.., 3");
  refuses([&] { solve_triangular(eye(3), ones({3, 2}), true, false); }, "[.., m, 3]");
  refuses([&] { solve_triangular(ones({3, 2}), ones({3, 2}), true); }, "square");
  refuses([&] { solve_triangular(eye(3), ones({3, 1}, {.dtype = DType::f64}), true); }, "f64");
  refuses([&] { solve_triangular(ones({2, 3, 3}), ones({4, 3, 1}), true); }, "broadcast");
  refuses([&] { diag(ones({2, 2, 2})); }, "use diagonal");
  refuses([&] { diag(ones({})); }, "vector or a matrix");
  refuses([&] { diagonal(ones({2})); }, "at least two dimensions");
  refuses([&] { diagonal(ones({2, 2, 2}), 0, 1, -2); }, "two different dimensions");
  refuses([&] { diagonal(ones({2, 2}), 0, 0, 2); }, "expected a dimension");
  refuses([&] { trace(ones({2})); }, "expected a matrix");
  refuses([&] { tril(ones({2})); }, "expected a matrix");
}

}  // namespace invar::test
