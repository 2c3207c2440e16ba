#include <invar/core/autograd/record.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <string>

namespace invar {
namespace {

void check_operands(const char* op, const Tensor& a, const Tensor& b) {
  common_device(op, {a, b});
  check(is_floating(a.dtype()) && a.dtype() == b.dtype(), op,
        "expected operands of one floating dtype, got {} and {}: convert with to()", a.dtype(),
        b.dtype());
}

/// A parameter beside data x, and what takes its place, may be f32 if x is bf16.
void check_parameter(const char* op, const Tensor& x, const Tensor& parameter) {
  common_device(op, {x, parameter});
  if (x.dtype() != DType::bf16 || parameter.dtype() != DType::f32) check_operands(op, x, parameter);
}

Dims batch_of(const Tensor& x) { return x.shape().first(x.dim() - 2); }

Dims with_matrix(Dims batch, std::int64_t rows, std::int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

/// The product in `dtype`: that of a and b, or f32 if they are bf16.
Tensor product(const char* op, const Tensor& a, const Tensor& b, const Tensor& bias, DType dtype) {
  const Tensor x = for_matrix_kernel(a), y = for_matrix_kernel(b);
  const Dims batch = broadcast_shapes(batch_of(a), batch_of(b), op);
  Tensor out =
      empty(with_matrix(batch, a.size(-2), b.size(-1)), {.dtype = dtype, .device = a.device()});
  kernel(&Kernels::matmul, a.device(), op)(
      expand(x, with_matrix(batch, x.size(-2), x.size(-1))),
      expand(y, with_matrix(batch, y.size(-2), y.size(-1))),
      bias.defined() ? contiguous(to(bias.detach(), computed_in(a.dtype()))) : bias, out);
  return out;
}

/// The dimensions before the last merged into one: [rows, x.size(-1)].
Tensor fold_rows(const Tensor& x) {
  const std::int64_t rows = numel_of(x.shape().first(x.dim() - 1));
  return reshape(x, {rows, x.size(-1)});
}

Tensor unfold_rows(const Tensor& folded, const Dims& like) {
  Dims shape = like;
  shape[shape.size() - 1] = folded.size(-1);
  return reshape(folded, shape);
}

}  // namespace

// d(A B) = dA B + A dB, so A receives G B^T and B receives A^T G
Tensor matmul(const Tensor& left, const Tensor& right) {
  const Tensor a = autocast("matmul", left), b = autocast("matmul", right);
  check_operands("matmul", a, b);
  check(a.dim() >= 1 && b.dim() >= 1, "matmul",
        "expected at least one dimension each, got {} and {}: use mul for scalars", a.shape(),
        b.shape());
  check(a.size(-1) == b.size(b.dim() == 1 ? 0 : -2), "matmul",
        "expected [.., m, k] and [.., k, n], got {} and {}: the inner sizes differ", a.shape(),
        b.shape());
  if (a.dim() == 1) return squeeze(matmul(unsqueeze(a, 0), b), b.dim() == 1 ? 0 : -2);
  if (b.dim() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  // Many matrices times one: the rows of all of them times one.
  if (a.dim() > 2 && b.dim() == 2) return unfold_rows(matmul(fold_rows(a), b), a.shape());
  return record("matmul", {a, b}, product("matmul", a, b, {}, a.dtype()),
                [a = SavedTensor::when(b.requires_grad(), a), sa = a.shape(),
                 b = SavedTensor::when(a.requires_grad(), b),
                 sb = b.shape()](const Tensor& g, Needs needs) -> Tensors {
                  return {needs[0] ? sum_to(matmul(g, transpose(b.get())), sa) : Tensor(),
                          needs[1] ? sum_to(matmul(transpose(a.get()), g), sb) : Tensor()};
                });
}

namespace {

Tensor linear_backward_weight(const Tensor& g, const Tensor& x, DType dtype);

// X' = G W is linear in G and W, and <G W, C> = <G, C W^T>
Tensor linear_backward_input(const Tensor& g, const Tensor& weight) {
  constexpr const char* kOp = "linear_backward_input";
  return record(kOp, {g, weight}, product(kOp, g, lowered(weight, g.dtype()), {}, g.dtype()),
                [g = SavedTensor::when(weight.requires_grad(), g),
                 w = SavedTensor::when(g.requires_grad(), weight),
                 dtype = weight.dtype()](const Tensor& c, Needs needs) -> Tensors {
                  return {needs[0] ? linear(c, w.get()) : Tensor(),
                          needs[1] ? linear_backward_weight(g.get(), c, dtype) : Tensor()};
                });
}

// W' = G^T X is linear in G and X, and <G^T X, C> = <G, X C^T>. It is summed in f32 if these are
// bf16, and rounded only if the weight is bf16, too.
Tensor linear_backward_weight(const Tensor& g, const Tensor& x, DType dtype) {
  constexpr const char* kOp = "linear_backward_weight";
  return record(
      kOp, {g, x}, product(kOp, transpose(g.detach()), x, {}, dtype),
      [g = SavedTensor::when(x.requires_grad(), g), x = SavedTensor::when(g.requires_grad(), x)](
          const Tensor& c, Needs needs) -> Tensors {
        return {needs[0] ? linear(x.get(), c) : Tensor(),
                needs[1] ? linear_backward_input(g.get(), c) : Tensor()};
      });
}

}  // namespace

// d(X W^T + b) = dX W^T + X dW^T + db, so X receives G W, W receives G^T X, and b the sum of G's
// rows
Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias) {
  const Tensor x = autocast("linear", input);
  check_parameter("linear", x, weight);
  check(weight.dim() == 2, "linear", "expected weight [out, in], got {}", weight.shape());
  check(x.dim() >= 1 && x.size(-1) == weight.size(1), "linear",
        "expected input [.., {}] (weight is {}), got {}", weight.size(1), weight.shape(),
        x.shape());
  if (bias.defined()) {
    check_parameter("linear", x, bias);
    check(bias.shape() == Dims{weight.size(0)}, "linear",
          "expected bias [{}] (weight is {}), got {}", weight.size(0), weight.shape(),
          bias.shape());
  }
  if (x.dim() != 2) return unfold_rows(linear(fold_rows(x), weight, bias), x.shape());
  const DType bias_dtype = bias.defined() ? bias.dtype() : x.dtype();
  return record("linear", {x, weight, bias},
                product("linear", x, transpose(lowered(weight, x.dtype())), bias, x.dtype()),
                [x = SavedTensor::when(weight.requires_grad(), x),
                 w = SavedTensor::when(x.requires_grad(), weight), dtype = weight.dtype(),
                 bias_dtype](const Tensor& g, Needs needs) -> Tensors {
                  return {needs[0] ? linear_backward_input(g, w.get()) : Tensor(),
                          needs[1] ? linear_backward_weight(g, x.get(), dtype) : Tensor(),
                          needs[2] ? sum(to(g, bias_dtype), {0}) : Tensor()};
                });
}

// --- einsum --------------------------------------------------------------------------------------

namespace {

/// A tensor whose dimensions carry names: dimension i is called indices[i], all different.
struct Named {
  Tensor tensor;
  std::string indices;

  bool has(char index) const { return indices.find(index) != std::string::npos; }
  std::int64_t size(char index) const { return tensor.size(static_cast<int>(indices.find(index))); }
  std::int64_t size(const std::string& group) const {
    std::int64_t n = 1;
    for (char index : group) n *= size(index);
    return n;
  }
};

struct Equation {
  std::vector<std::string> operands;
  std::string result;
};

Equation parse(std::string_view text, std::size_t operands) {
  Equation out;
  std::string all(text);
  std::erase(all, ' ');
  const std::size_t arrow = all.find("->");
  const std::string inputs = all.substr(0, arrow);
  for (std::size_t begin = 0;;) {
    const std::size_t comma = inputs.find(',', begin);
    out.operands.push_back(inputs.substr(begin, comma - begin));
    if (comma == std::string::npos) break;
    begin = comma + 1;
  }
  check(operands >= 1 && out.operands.size() == operands, "einsum",
        "expected one group of indices per operand, got \"{}\" for {} operands", text, operands);
  std::array<int, 128> count{};
  for (const std::string& group : out.operands) {
    for (char index : group) {
      check((index >= 'a' && index <= 'z') || (index >= 'A' && index <= 'Z'), "einsum",
            "expected letters, commas and \"->\", got '{}' in \"{}\"{}", index, text,
            index == '.' ? ": write the indices instead of \"...\"" : "");
      ++count[static_cast<unsigned char>(index)];
    }
  }
  if (arrow == std::string::npos) {
    for (std::size_t c = 0; c < count.size(); ++c) {
      if (count[c] == 1) out.result.push_back(static_cast<char>(c));
    }
    return out;
  }
  out.result = all.substr(arrow + 2);
  for (std::size_t i = 0; i < out.result.size(); ++i) {
    const char index = out.result[i];
    check(index >= 'A' && index <= 'z' && count[static_cast<unsigned char>(index)] > 0 &&
              out.result.find(index, i + 1) == std::string::npos,
          "einsum", "expected a result of indices of the operands, each once, got '{}' in \"{}\"",
          index, text);
  }
  return out;
}

/// The operand under its names, the diagonal taken where one occurs twice.
Named named(const Tensor& x, const std::string& indices, std::string_view equation) {
  check(static_cast<int>(indices.size()) == x.dim(), "einsum",
        "expected {} dimensions for \"{}\" in \"{}\", got {}", indices.size(), indices, equation,
        x.shape());
  Named out{x, indices};
  for (std::size_t i = 0; i < out.indices.size(); ++i) {
    const std::size_t twin = out.indices.find(out.indices[i], i + 1);
    if (twin == std::string::npos) continue;
    const int first = static_cast<int>(i), second = static_cast<int>(twin);
    check(out.tensor.size(first) == out.tensor.size(second), "einsum",
          "expected equal sizes for index '{}' in \"{}\", got {}", out.indices[i], equation,
          x.shape());
    out.tensor = diagonal(out.tensor, 0, first, second);  // its dimension is the last
    out.indices.push_back(out.indices[i]);
    out.indices.erase(twin, 1);
    out.indices.erase(i, 1);
    i = static_cast<std::size_t>(-1);  // the names have moved: look again
  }
  return out;
}

/// Sums over the indices that are not in `kept`.
Named sum_except(Named x, const std::string& kept) {
  Dims dims;
  std::string left;
  for (std::size_t i = 0; i < x.indices.size(); ++i) {
    if (kept.find(x.indices[i]) == std::string::npos) {
      dims.push_back(static_cast<std::int64_t>(i));
    } else {
      left.push_back(x.indices[i]);
    }
  }
  if (dims.empty()) return x;
  return {sum(x.tensor, dims), left};
}

/// The dimensions of x in the order of `indices`, which are x's.
Tensor ordered(const Named& x, const std::string& indices) {
  Dims order;
  for (char index : indices) order.push_back(static_cast<std::int64_t>(x.indices.find(index)));
  return permute(x.tensor, order);
}

/// The product of two operands, summed over the indices that are not in `kept`.
Named contract(const Named& a, const Named& b, const std::string& kept) {
  std::string batch, summed, only_a, only_b;
  for (char index : a.indices) {
    const bool is_kept = kept.find(index) != std::string::npos;
    (!b.has(index) ? only_a : is_kept ? batch : summed).push_back(index);
  }
  for (char index : b.indices) {
    if (!a.has(index)) only_b.push_back(index);
  }
  const std::int64_t m = a.size(only_a), n = b.size(only_b), k = a.size(summed);
  Named out{{}, batch + only_a + only_b};
  if (summed.empty() || (only_a.empty() && only_b.empty())) {
    // Elementwise, with dimensions of size 1 where an operand lacks an index: no matrix in it.
    Dims a_shape, b_shape;
    for (char index : out.indices + summed) {
      a_shape.push_back(a.has(index) ? a.size(index) : 1);
      b_shape.push_back(b.has(index) ? b.size(index) : 1);
    }
    const Tensor y = reshape(ordered(a, batch + only_a + summed), a_shape) *
                     reshape(ordered(b, batch + only_b + summed), b_shape);
    return sum_except({y, out.indices + summed}, out.indices);
  }
  Tensor x = ordered(a, batch + only_a + summed), y = ordered(b, batch + summed + only_b);
  Dims shape;
  for (char index : out.indices) shape.push_back(a.has(index) ? a.size(index) : b.size(index));
  if (batch.empty()) {
    out.tensor = matmul(reshape(x, {m, k}), reshape(y, {k, n}));
  } else {
    const std::int64_t count = a.size(batch);
    out.tensor = matmul(reshape(x, {count, m, k}), reshape(y, {count, k, n}));
  }
  out.tensor = reshape(out.tensor, shape);
  return out;
}

}  // namespace

Tensor einsum(std::string_view equation, const Tensors& factors) {
  Tensors operands;
  for (const Tensor& x : factors) operands.push_back(autocast("einsum", x));
  const Equation indices = parse(equation, operands.size());
  std::vector<Named> inputs;
  std::array<std::int64_t, 128> sizes;
  sizes.fill(-1);
  for (std::size_t i = 0; i < operands.size(); ++i) {
    check_operands("einsum", operands[0], operands[i]);
    inputs.push_back(named(operands[i], indices.operands[i], equation));
    for (char index : inputs.back().indices) {
      std::int64_t& size = sizes[static_cast<unsigned char>(index)];
      if (size < 0) size = inputs.back().size(index);
      check(size == inputs.back().size(index), "einsum",
            "expected equal sizes for index '{}' in \"{}\", got {} and {}", index, equation, size,
            inputs.back().size(index));
    }
  }
  // kept[i]: the indices still needed once operands 0..i are multiplied.
  std::vector<std::string> kept(inputs.size(), indices.result);
  for (std::size_t i = inputs.size() - 1; i > 0; --i) kept[i - 1] = kept[i] + inputs[i].indices;
  Named product = sum_except(inputs[0], kept[0]);
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    const Named next = sum_except(inputs[i], kept[i] + product.indices);
    product = contract(product, next, kept[i]);
  }
  return ordered(product, indices.result);
}

}  // namespace invar
