#include <invar/core/philox.hpp>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/loops.hpp>
#include <invar/ops/functors/convert.hpp>

namespace invar::cpu {

void copy(const Tensor& x, const Tensor& out) {
  visit(out.dtype(), [&]<class Out>() {
    visit(x.dtype(), [&]<class In>() {
      elementwise<Out, In>(
          out, [](In v) { return functors::convert<Out>(v); }, x);
    });
  });
}

void fill(double value, const Tensor& out) {
  visit(out.dtype(), [&]<class T>() {
    const T v = functors::convert<T>(value);
    elementwise<T>(out, [v] { return v; });
  });
}

void arange(double start, double step, const Tensor& out) {
  if (out.dtype() == DType::bf16) {
    return round_into(out, [&](const Tensor& y) { arange(start, step, y); });
  }
  visit_number(out.dtype(), "arange", [&]<class T>() {
    T* const y = out.data<T>();
    for (std::int64_t i = 0; i < out.numel(); ++i) {
      y[i] = functors::convert<T>(start + static_cast<double>(i) * step);
    }
  });
}

void random(RandomOp op, Params params, std::uint64_t seed, std::uint64_t offset,
            const Tensor& out) {
  const auto fill_with = [&]<class T>(T* y, const auto& value) {
    parallel_for(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        y[i] = functors::convert<T>(value(static_cast<std::uint64_t>(i)));
      }
    });
  };
  if (op == RandomOp::integer) {
    const auto low = static_cast<std::int64_t>(params[0]);
    const auto high = static_cast<std::int64_t>(params[1]);
    return visit_number(out.dtype(), "randint", [&]<class T>() {
      fill_with(out.data<T>(),
                [&](std::uint64_t i) { return random_integer(seed, offset, i, low, high); });
    });
  }
  if (op == RandomOp::bernoulli) {
    return visit(out.dtype(), [&]<class T>() {
      fill_with(out.data<T>(), [&](std::uint64_t i) {
        return random_bernoulli(seed, offset, i, params[0]) ? 1.0f : 0.0f;
      });
    });
  }
  visit_real(out.dtype(), op == RandomOp::normal ? "randn" : "rand", [&]<class T>() {
    if (op == RandomOp::normal) {
      fill_with(out.data<T>(), [&](std::uint64_t i) { return random_normal<T>(seed, offset, i); });
    } else {
      fill_with(out.data<T>(), [&](std::uint64_t i) { return random_uniform<T>(seed, offset, i); });
    }
  });
}

}  // namespace invar::cpu
