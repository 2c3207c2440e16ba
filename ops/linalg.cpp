#include <algorithm>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {
namespace {

struct Diagonal {
  std::int64_t offset;
  int dim1, dim2;
};

/// The diagonal of x as a view, without history.
Tensor diagonal_view(const Tensor& x, const Diagonal& at) {
  const std::int64_t rows = x.shape()[at.dim1], columns = x.shape()[at.dim2];
  const std::int64_t skip_rows = std::max<std::int64_t>(0, -at.offset);
  const std::int64_t skip_columns = std::max<std::int64_t>(0, at.offset);
  const std::int64_t length =
      std::max<std::int64_t>(0, std::min(rows - skip_rows, columns - skip_columns));
  Dims shape, strides;
  for (int d = 0; d < x.dim(); ++d) {
    if (d == at.dim1 || d == at.dim2) continue;
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
  }
  shape.push_back(length);
  strides.push_back(x.strides()[at.dim1] + x.strides()[at.dim2]);
  const std::int64_t start =
      length > 0 ? skip_rows * x.strides()[at.dim1] + skip_columns * x.strides()[at.dim2] : 0;
  return alias(x, shape, strides, x.offset() + start);
}

Tensor taken_diagonal(const Tensor& x, const Diagonal& at);

/// Zeros of `shape` with the values x on a diagonal: the gradient of taken_diagonal, and vice
/// versa.
Tensor on_diagonal(const char* op, const Tensor& x, const Dims& shape, const Diagonal& at) {
  Tensor out = zeros(shape, x.options());
  {
    NoGrad guard;
    copy_(diagonal_view(out, at), x);
  }
  return record(op, {x}, out, [at](const Tensor& g) -> Tensors { return {taken_diagonal(g, at)}; });
}

Tensor taken_diagonal(const Tensor& x, const Diagonal& at) {
  return record("diagonal", {x}, diagonal_view(x, at),
                [at, from = x.shape()](const Tensor& g) -> Tensors {
                  return {on_diagonal("diagonal_backward", g, from, at)};
                });
}

/// `keep` is le (tril) or ge (triu): where column - row keeps that relation to the offset.
Tensor triangle(const char* op, Tensor (*keep)(const Tensor&, const Tensor&), const Tensor& x,
                std::int64_t offset) {
  check(x.dim() >= 2, op, "expected a matrix [.., n, m], got {}", x.shape());
  offset = std::clamp(offset, -x.size(-2), x.size(-1));  // all or nothing from there on
  const TensorOptions integers{.dtype = DType::i64, .device = x.device()};
  const Tensor columns = arange(0, static_cast<double>(x.size(-1)), 1, integers);
  const Tensor rows = arange(0, static_cast<double>(x.size(-2)), 1, integers);
  const Tensor bound = add(unsqueeze(rows, 1), static_cast<double>(offset));
  return where(keep(columns, bound), x, 0);
}

void check_square(const char* op, const Tensor& x) {
  check_real(op, x.dtype());
  check(x.dim() >= 2 && x.size(-1) == x.size(-2), op, "expected square matrices [.., n, n], got {}",
        x.shape());
}

void check_finite(const char* op, const Tensor& x) {
  check(kernel(&Kernels::all_finite, x.device(), op)(x), op,
        "expected finite numbers, got a NaN or an infinity");
}

void check_eigen(const char* op, const Tensor& x) {
  check_square(op, x);
  check_finite(op, x);
}

/// One number per row of the matrices x.
Tensor eigenvalues_like(const Tensor& x) {
  return empty(x.shape().first(x.dim() - 1), x.options());
}

/// Error if two neighbours of `values` are equal up to rounding (or, for svdvals, one is 0) while a
/// second gradient is wanted: see Note [Equal eigenvalues] in linalg.hpp.
void check_distinct(const char* op, const Tensor& values, bool positive) {
  if (!grad_enabled() || values.numel() == 0) return;
  NoGrad guard;
  const Tensor v = to(values.detach(), DType::f64), size = amax(abs(v), {-1}, /*keepdim=*/true);
  const std::int64_t n = v.size(-1);
  const double least = values.dtype() == DType::f32 ? 1e-6 : 1e-13;
  Tensor close = zeros({}, {.dtype = DType::boolean, .device = v.device()});
  if (n > 1) close = any(le(abs(narrow(v, -1, 1, n - 1) - narrow(v, -1, 0, n - 1)), size * least));
  if (positive) close = logical_or(close, any(le(v, size * least)));
  check(!close.item<bool>(), op,
        "expected {} for a second gradient, got some that are equal{} up to rounding: it does not "
        "exist there",
        positive ? "distinct values above 0" : "distinct values", positive ? " or 0" : "");
}

}  // namespace

Tensor diagonal(const Tensor& x, std::int64_t offset, int dim1, int dim2) {
  check(x.dim() >= 2, "diagonal", "expected at least two dimensions, got {}", x.shape());
  const int first = wrap_dim(dim1, x.dim(), "diagonal"),
            second = wrap_dim(dim2, x.dim(), "diagonal");
  check(first != second, "diagonal", "expected two different dimensions, got {} and {}", dim1,
        dim2);
  // Beyond the matrix they are all empty.
  return taken_diagonal(x,
                        {std::clamp(offset, -x.shape()[first], x.shape()[second]), first, second});
}

Tensor diag(const Tensor& x, std::int64_t offset) {
  check(x.dim() == 1 || x.dim() == 2, "diag", "expected a vector or a matrix, got {}: use diagonal",
        x.shape());
  if (x.dim() == 2) return clone(diagonal(x, offset));
  check(offset >= -kMaxElements && offset <= kMaxElements, "diag",
        "expected an offset within 2^60, got {}", offset);
  const std::int64_t n = x.size(0) + std::abs(offset);
  return on_diagonal("diag", x, {n, n}, {offset, 0, 1});
}

Tensor trace(const Tensor& x) {
  check(x.dim() == 2, "trace", "expected a matrix, got {}", x.shape());
  return sum(diagonal(x));
}

Tensor tril(const Tensor& x, std::int64_t offset) { return triangle("tril", le, x, offset); }
Tensor triu(const Tensor& x, std::int64_t offset) { return triangle("triu", ge, x, offset); }

// x = L L^T gives L^-1 dx L^-T = M + M^T with M = L^-1 dL lower triangular. So with P the lower
// triangle of L^T G, x receives L^-T (P + P^T - diag P) L^-1 / 2.
// (Murray, "Differentiation of the Cholesky decomposition", 2016, eq. 10.)
Tensor cholesky(const Tensor& input) {
  const Tensor x = autocast("cholesky", input);
  check_square("cholesky", x);
  Tensor l = empty(x.shape(), x.options());
  kernel(&Kernels::cholesky, x.device(), "cholesky")(x, l);
  return record("cholesky", {x}, l, [l = SavedTensor::output(l)](const Tensor& g) -> Tensors {
    const Tensor factor = l.get(), product = matmul(transpose(factor), g);
    const Tensor p = tril(product) + transpose(tril(product, -1));
    const Tensor left = solve_triangular(transpose(factor), p, /*upper=*/true);
    return {solve_triangular(factor, left, /*upper=*/false, /*left=*/false) * 0.5};
  });
}

Tensor logdet(const Tensor& input) {
  const Tensor x = autocast("logdet", input);
  check_square("logdet", x);
  return sum(log(diagonal(cholesky(x), 0, -2, -1)), {-1}) * 2;
}

// a x = b: d x = a^-1 (db - da x), so b receives B = a^-T G, and a the triangle of -B x^T
Tensor solve_triangular(const Tensor& matrix, const Tensor& sides, bool upper, bool left) {
  const Tensor a = autocast("solve_triangular", matrix), b = autocast("solve_triangular", sides);
  check_square("solve_triangular", a);
  common_device("solve_triangular", {a, b});
  check(a.dtype() == b.dtype(), "solve_triangular", "expected operands of one dtype, got {} and {}",
        a.dtype(), b.dtype());
  check(b.dim() >= 2 && b.size(left ? -2 : -1) == a.size(-1), "solve_triangular",
        "expected right-hand sides {} (a is {}), got {}{}",
        left ? fmt::format("[.., {}, m]", a.size(-1)) : fmt::format("[.., m, {}]", a.size(-1)),
        a.shape(), b.shape(), b.dim() == 1 ? ": unsqueeze the vector" : "");
  if (!left) return transpose(solve_triangular(transpose(a), transpose(b), !upper));

  const auto batch = [](const Tensor& t) { return t.shape().first(t.dim() - 2); };
  Dims a_shape = broadcast_shapes(batch(a), batch(b), "solve_triangular"), shape = a_shape;
  for (int d : {-2, -1}) {
    a_shape.push_back(a.size(d));
    shape.push_back(b.size(d));
  }
  const Tensor x = clone(expand(b.detach(), shape));
  kernel(&Kernels::solve_triangular, a.device(), "solve_triangular")(
      expand(for_matrix_kernel(a), a_shape), upper, x);
  return record("solve_triangular", {a, b}, x,
                [a = SavedTensor(a), x = SavedTensor::output(x), upper, to = b.shape()](
                    const Tensor& g, Needs needs) -> Tensors {
                  const Tensor matrix = a.get();
                  const Tensor rhs = solve_triangular(transpose(matrix), g, !upper);
                  Tensor da;
                  if (needs[0]) {
                    const Tensor full = -matmul(rhs, transpose(x.get()));
                    da = sum_to(upper ? triu(full) : tril(full), matrix.shape());
                  }
                  return {da, needs[1] ? sum_to(rhs, to) : Tensor()};
                });
}

// With x V = V diag(l): dl = diag(V^T dx V) and dV = V (F o V^T dx V), F_ij = 1 / (l_j - l_i) but
// for 0 on the diagonal. So x receives V (diag(g_l) + F o A) V^T, A = V^T g_V. Only its symmetric
// part counts, and F is antisymmetric: that of A is taken. Where l_i = l_j and A_ij = 0 the
// function does not tell these vectors apart, and 0/0 stands for 0.
Eigh eigh(const Tensor& input) {
  const Tensor x = autocast("eigh", input);
  check_eigen("eigh", x);
  const Tensor values = eigenvalues_like(x), vectors = empty(x.shape(), x.options());
  kernel(&Kernels::eigh, x.device(), "eigh")(x, values, vectors);
  const Tensors outputs = record_all(
      "eigh", {x}, {values, vectors},
      [values = SavedTensor::output(values), vectors = SavedTensor::output(vectors, 1)](
          const Tensors& g, Needs) -> Tensors {
        const Tensor l = values.get(), v = vectors.get();
        Tensor inner;
        if (g[1].defined()) {
          const Tensor a = matmul(transpose(v), g[1]), antisymmetric = (a - transpose(a)) * 0.5;
          const Tensor gap = unsqueeze(l, -2) - unsqueeze(l, -1);
          const Tensor alike = logical_and(eq(gap, 0.0), eq(antisymmetric, 0.0));
          inner = antisymmetric / where(logical_not(alike), gap, 1);
        }
        Tensor middle = inner.defined() ? matmul(v, inner) : Tensor();
        if (g[0].defined()) {
          check_distinct("eigh", l, /*positive=*/false);
          const Tensor scaled = v * unsqueeze(g[0], -2);
          middle = middle.defined() ? middle + scaled : scaled;
        }
        return {middle.defined() ? matmul(middle, transpose(v)) : Tensor()};
      });
  return {outputs[0], outputs[1]};
}

Tensor eigvalsh(const Tensor& input) {
  const Tensor x = autocast("eigvalsh", input);
  check_eigen("eigvalsh", x);
  const Tensor values = eigenvalues_like(x);
  kernel(&Kernels::eigh, x.device(), "eigvalsh")(x, values, {});
  return record("eigvalsh", {x}, values, [x = SavedTensor(x)](const Tensor& g) -> Tensors {
    const auto [l, v] = eigh(x.get());
    check_distinct("eigvalsh", l, /*positive=*/false);
    return {matmul(v * unsqueeze(g, -2), transpose(v))};
  });
}

// x = U diag(s) V^T: ds = diag(U^T dx V), so x receives U diag(g) V^T. U are the eigenvectors of
// x x^T, and the rows of U^T x those of V^T but for their lengths s. A wide x; a tall one is
// transposed.
Tensor svdvals(const Tensor& input) {
  const Tensor x = autocast("svdvals", input);
  check_real("svdvals", x.dtype());
  check(x.dim() >= 2, "svdvals", "expected matrices [.., n, m], got {}", x.shape());
  check_finite("svdvals", x);
  Dims shape = x.shape().first(x.dim() - 2);
  shape.push_back(std::min(x.size(-2), x.size(-1)));
  const Tensor values = empty(shape, x.options());
  kernel(&Kernels::svdvals, x.device(), "svdvals")(x, values);
  return record(
      "svdvals", {x}, values,
      [x = SavedTensor(x), values = SavedTensor::output(values)](const Tensor& g) -> Tensors {
        check_distinct("svdvals", values.get(), /*positive=*/true);
        const Tensor given = x.get();
        const bool tall = given.size(-2) > given.size(-1);
        const Tensor wide = to(tall ? transpose(given) : given, DType::f64);
        const Tensor u = flip(eigh(matmul(wide, transpose(wide))).vectors, {-1});
        const Tensor rows = normalize(matmul(transpose(u), wide), -1);
        const Tensor dx = to(matmul(u * unsqueeze(to(g, DType::f64), -2), rows), g.dtype());
        return {tall ? transpose(dx) : dx};
      });
}

}  // namespace invar
