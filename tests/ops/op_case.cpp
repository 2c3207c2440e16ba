#include "op_case.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/view.hpp>

namespace invar::test {
namespace {

Tensor make_input(const Input& input, Generator& generator) {
  if (input.dtype == DType::boolean) {
    return bernoulli(0.5, input.shape, {.dtype = DType::boolean}, generator);
  }
  if (input.dtype != DType::f64) {
    const auto low = static_cast<std::int64_t>(input.low);
    const auto high = static_cast<std::int64_t>(input.high);
    return randint(low, high, input.shape, {.dtype = input.dtype}, generator);
  }
  const Tensor uniform = rand(input.shape, {.dtype = DType::f32}, generator);
  return to(uniform * (input.high - input.low) + input.low, DType::f64);
}

Tensors make_inputs(const OpCase& c) {
  std::uint64_t seed = 14695981039346656037u;  // by name: a new case changes no other
  for (char letter : c.name) seed = (seed ^ static_cast<unsigned char>(letter)) * 1099511628211u;
  Generator generator(seed);
  if (c.make) return c.make(generator);
  Tensors inputs;
  for (const Input& input : c.inputs) inputs.push_back(make_input(input, generator));
  return inputs;
}

/// Outputs and gradients of the real inputs, all dense.
struct Result {
  Tensors outputs;
  Tensors gradients;
};

/// f and the gradient of sum_k v_k . y_k, v a fixed wave of the same values in every dtype.
Result evaluate(const OpCase& c, const Tensors& inputs) {
  Tensors leaves, wanted;
  for (const Tensor& x : inputs) {
    leaves.push_back(x.detach());
    if (!is_floating(x.dtype())) continue;
    leaves.back().requires_grad_();
    wanted.push_back(leaves.back());
  }
  Tensors outputs = c.f(leaves);
  Tensors roots, v;
  for (const Tensor& y : outputs) {
    if (!y.requires_grad()) continue;
    roots.push_back(y);
    const Tensor wave =
        sin(arange(1, static_cast<double>(y.numel()) + 1, 1, {.dtype = DType::f64}));
    v.push_back(to(to(to(reshape(wave, y.shape()), DType::bf16), y.dtype()), y.device()));
  }
  Tensors gradients(wanted.size());
  if (!roots.empty()) gradients = grad(roots, wanted, v, {}, /*allow_unused=*/true);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!gradients[i].defined()) gradients[i] = zeros_like(wanted[i]);
    CHECK(gradients[i].dtype() == wanted[i].dtype());
  }
  for (Tensor& y : outputs) y = contiguous(y.detach());
  for (Tensor& g : gradients) g = contiguous(g.detach());
  return {outputs, gradients};
}

/// "" if both agree: values of reals relative to the largest magnitude, everything else exactly.
std::string difference(const Tensor& got, const Tensor& expected, double tolerance) {
  if (got.shape() != expected.shape()) {
    return fmt::format("shape {}, expected {}", got.shape(), expected.shape());
  }
  const bool real = is_floating(expected.dtype());
  if (real != is_floating(got.dtype()) || (!real && got.dtype() != expected.dtype())) {
    return fmt::format("dtype {}, expected {}", got.dtype(), expected.dtype());
  }
  const Tensor a = contiguous(to(got, DType::f64)), b = contiguous(to(expected, DType::f64));
  const double *x = a.data<double>(), *y = b.data<double>();
  double scale = 1;
  for (std::int64_t i = 0; i < b.numel(); ++i) {
    if (std::isfinite(y[i])) scale = std::max(scale, std::abs(y[i]));
  }
  for (std::int64_t i = 0; i < b.numel(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    if (real && std::abs(x[i] - y[i]) <= tolerance * scale) continue;
    return fmt::format("element {} is {:.17g}, expected {:.17g} within {:.3g} of {:.3g}", i, x[i],
                       y[i], tolerance, scale);
  }
  return "";
}

std::string difference(const Tensors& got, const Tensors& expected, double tolerance,
                       const char* what) {
  if (got.size() != expected.size()) {
    return fmt::format("{} {}s, expected {}", got.size(), what, expected.size());
  }
  for (std::size_t k = 0; k < got.size(); ++k) {
    const std::string text = difference(got[k], expected[k], tolerance);
    if (!text.empty()) return fmt::format("{} {}: {}", what, k, text);
  }
  return "";
}

std::string difference(const Result& got, const Result& expected, double tolerance) {
  const std::string text = difference(got.outputs, expected.outputs, tolerance, "output");
  return text.empty() ? difference(got.gradients, expected.gradients, tolerance, "gradient") : text;
}

// --- the same values in other layouts

Tensor transposed(const Tensor& x) {
  Dims order;
  for (int d = x.dim() - 1; d >= 0; --d) order.push_back(d);
  return permute(clone(permute(x, order)), order);
}

/// Every second element of every dimension of something larger, from the second element on.
Tensor strided(const Tensor& x) {
  Dims shape = x.shape();
  for (std::int64_t& size : shape) size = 2 * size + 1;
  Tensor out = to(full(shape, 7, {.dtype = DType::f64, .device = x.device()}), x.dtype());
  for (int d = 0; d < x.dim(); ++d) out = slice(out, d, 1, out.size(d), 2);
  copy_(out, x);
  return out;
}

/// Its first slice along the first dimension, repeated with stride 0: other values, same shape.
Tensor expanded(const Tensor& x) {
  if (x.dim() == 0 || x.size(0) == 0) return x;
  return expand(slice(x, 0, 0, 1), x.shape());
}

/// Runs body for every case and says for which one it failed.
template <class Body>
void for_each_case(const OpCases& cases, const Body& body) {
  for (const OpCase& c : cases) {
    INFO("case " << c.name);
    try {
      body(c, make_inputs(c));
    } catch (const std::exception& e) {
      FAIL_CHECK("threw: " << e.what());
    }
  }
}

}  // namespace

void check_gradients(const OpCases& cases) {
  constexpr std::int64_t kSmall = 60;  // elements; larger inputs show nothing more
  const auto total_numel = [](const Tensors& inputs) {
    std::int64_t total = 0;
    for (const Tensor& x : inputs) total += x.numel();
    return total;
  };
  for_each_case(cases, [&](const OpCase& c, const Tensors& inputs) {
    const auto is_real = [](const Tensor& x) { return is_floating(x.dtype()); };
    if (std::none_of(inputs.begin(), inputs.end(), is_real)) return;  // one_hot, nonzero
    GradcheckOptions options = c.gradcheck;
    options.skip_kinks |= c.kinks;
    CHECK(gradcheck(c.f, inputs, options).message == "");
    if (!c.second_order) return;
    CHECK(gradgradcheck(c.f, inputs, options).message == "");
    // The first order of other layouts is compared with that of dense inputs by check_values.
    if (total_numel(inputs) > kSmall) return;
    const auto check_layout = [&](const char* name, const auto& change) {
      INFO(name << " inputs");
      Tensors changed;
      for (const Tensor& x : inputs) changed.push_back(change(x));
      CHECK(gradgradcheck(c.f, changed, options).message == "");
    };
    check_layout("transposed", transposed);
    check_layout("strided", strided);
  });
}

void check_values(const OpCases& cases) {
  for_each_case(cases, [](const OpCase& c, const Tensors& inputs) {
    Tensors singles;
    for (const Tensor& x : inputs) {
      singles.push_back(is_floating(x.dtype()) ? to(x, DType::f32) : x);
    }
    const Result f64 = evaluate(c, inputs), f32 = evaluate(c, singles);
    if (c.reference) {
      const std::string text =
          difference(f64.outputs, c.reference(inputs), c.f64_tolerance, "output");
      if (!text.empty()) FAIL_CHECK("against the reference: " << text);
    }
    const std::string in_f32 = difference(f32, f64, c.f32_tolerance);
    if (!in_f32.empty()) FAIL_CHECK("f32 against f64: " << in_f32);
    for (const Tensor& y : f32.outputs) CHECK(y.dtype() != DType::f64);

    Tensors halves, exact;  // the same numbers in bf16 and in f64
    for (const Tensor& x : inputs) {
      halves.push_back(is_floating(x.dtype()) ? to(x, DType::bf16) : x);
      exact.push_back(is_floating(x.dtype()) ? to(halves.back(), DType::f64) : x);
    }
    if (c.bf16_tolerance == 0) {
      CHECK_THROWS_AS(c.f(halves), Error);
    } else {
      const std::string in_bf16 =
          difference(evaluate(c, halves), evaluate(c, exact), c.bf16_tolerance);
      if (!in_bf16.empty()) FAIL_CHECK("bf16 against f64: " << in_bf16);
    }

    const auto try_layout = [&](const char* name, const auto& change) {
      const auto in = [&](const char* dtype, const Tensors& values, double tolerance) {
        Tensors changed, dense;
        for (const Tensor& x : values) {
          changed.push_back(change(x));
          dense.push_back(clone(changed.back()));
        }
        const std::string text = difference(evaluate(c, changed), evaluate(c, dense), tolerance);
        if (!text.empty()) FAIL_CHECK(name << " inputs, " << dtype << ": " << text);
      };
      in("f64", inputs, c.f64_tolerance);
      in("f32", singles, c.f32_tolerance);
      if (c.bf16_tolerance > 0) in("bf16", halves, c.bf16_tolerance);
    };
    try_layout("transposed", transposed);
    try_layout("strided", strided);
    if (c.expandable) try_layout("expanded", expanded);
  });
}

namespace {

Result on_cpu(const Result& r) {
  Result moved;
  for (const Tensor& y : r.outputs) moved.outputs.push_back(to(y, kCpu));
  for (const Tensor& g : r.gradients) moved.gradients.push_back(to(g, kCpu));
  return moved;
}

}  // namespace

void check_on_gpu(const OpCases& cases) {
  if (cuda::device_count() == 0) SKIP("no GPU");
  constexpr Device kGpu{DeviceType::cuda, 0};
  std::string missing;
  for_each_case(cases, [&](const OpCase& c, const Tensors& inputs) {
    const auto compare = [&](DType dtype, double tolerance, const char* layout,
                             const auto& change) {
      Tensors cpu, gpu;
      for (const Tensor& x : inputs) {
        const Tensor given = is_floating(x.dtype()) ? to(x, dtype) : x;
        cpu.push_back(change(given));
        gpu.push_back(change(to(given, kGpu)));
      }
      const Result expected = evaluate(c, cpu), got = evaluate(c, gpu);
      for (const Tensor& y : got.outputs) CHECK(y.device() == kGpu);
      const std::string text = difference(on_cpu(got), expected, tolerance);
      if (!text.empty()) FAIL_CHECK(layout << " inputs, " << name_of(dtype) << ": " << text);
    };
    const auto in_layouts = [&](DType dtype, double tolerance) {
      compare(dtype, tolerance, "dense", [](const Tensor& x) { return x; });
      compare(dtype, tolerance, "transposed", transposed);
      compare(dtype, tolerance, "strided", strided);
      if (c.expandable) compare(dtype, tolerance, "expanded", expanded);
    };
    try {
      in_layouts(DType::f64, c.f64_tolerance);
      in_layouts(DType::f32, c.f32_tolerance);
      if (c.bf16_tolerance > 0) in_layouts(DType::bf16, c.bf16_tolerance);
    } catch (const Error& e) {
      if (std::string_view(e.what()).find("has no CUDA kernel") == std::string_view::npos) throw;
      missing += fmt::format("\n  {}: {}", c.name, e.what());
    }
  });
  if (!missing.empty()) SKIP("not compared:" << missing);
}

std::int64_t random_between(Generator& generator, std::int64_t low, std::int64_t high) {
  const GeneratorState at = generator.reserve(1, 8);
  return random_integer(at.seed, at.offset, 0, low, high);
}

Dims random_shape(Generator& generator, int max_rank) {
  Dims shape = Dims::filled(static_cast<int>(random_between(generator, 0, max_rank + 1)), 1);
  for (std::int64_t& size : shape) {
    const std::int64_t draw = random_between(generator, 0, 20);
    size = draw == 0 ? 0 : draw < 6 ? 1 : random_between(generator, 2, 5);
  }
  return shape;
}

Dims random_broadcast_of(Generator& generator, const Dims& shape) {
  Dims out;
  const auto dropped = static_cast<int>(random_between(generator, 0, shape.size() + 1));
  for (int d = dropped; d < shape.size(); ++d) {
    out.push_back(random_between(generator, 0, 3) == 0 ? 1 : shape[d]);
  }
  return out;
}

Tensor naive_elementwise(const Tensors& inputs,
                         const std::function<double(const std::vector<double>&)>& f) {
  Dims shape;
  for (const Tensor& x : inputs) shape = broadcast_shapes(shape, x.shape(), "naive");
  Tensors dense;
  for (const Tensor& x : inputs) dense.push_back(clone(to(expand(x, shape), DType::f64)));
  Tensor out = empty(shape, {.dtype = DType::f64});
  std::vector<double> elements(inputs.size());
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    for (std::size_t k = 0; k < dense.size(); ++k) elements[k] = dense[k].data<double>()[i];
    out.data<double>()[i] = f(elements);
  }
  return out;
}

Tensor from_coordinates(const Dims& shape, const std::function<double(const Dims&)>& f) {
  Tensor out = empty(shape, {.dtype = DType::f64});
  for (std::int64_t n = 0; n < out.numel(); ++n) {
    Dims i = shape;
    std::int64_t rest = n;
    for (int d = shape.size() - 1; d >= 0; --d) {
      i[d] = rest % shape[d];
      rest /= shape[d];
    }
    out.data<double>()[n] = f(i);
  }
  return out;
}

double at(const Tensor& x, const Dims& i) {
  std::int64_t offset = 0;
  for (int d = 0; d < x.dim(); ++d) offset += i[d] * x.strides()[d];
  return visit(x.dtype(), [&]<class T>() { return static_cast<double>(x.data<T>()[offset]); });
}

}  // namespace invar::test
