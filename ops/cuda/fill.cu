#include <invar/core/cuda/graph.hpp>
#include <invar/core/philox.hpp>
#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/functors/convert.hpp>

namespace invar::cuda {
namespace {

template <class Out>
struct Convert {
  template <class In>
  INVAR_HD Out operator()(In x) const {
    return functors::convert<Out>(x);
  }
};

template <class T>
struct Constant {
  T value;
  INVAR_HD T operator()() const { return value; }
};

/// out[i] = f(i), out dense.
template <class T, class F>
struct Enumerate {
  F f;
  T* out;
  INVAR_HD void operator()(std::int64_t i) const { out[i] = functors::convert<T>(f(i)); }
};

template <class T, class F>
void enumerate(const Tensor& out, const F& f) {
  for_each("fill", out, out.numel(), Enumerate<T, F>{f, out.data<T>()});
}

struct Range {
  double start, step;
  INVAR_HD double operator()(std::int64_t i) const { return start + static_cast<double>(i) * step; }
};

/// Where the numbers of a tensor begin, whether now or when a graph is replayed.
struct Begin {
  std::uint64_t seed;
  RandomOffset at;
  INVAR_HD std::uint64_t offset() const { return at.base ? *at.base + at.offset : at.offset; }
};

struct Integers {
  Begin begin;
  std::int64_t low, high;
  INVAR_HD std::int64_t operator()(std::int64_t i) const {
    return random_integer(begin.seed, begin.offset(), static_cast<std::uint64_t>(i), low, high);
  }
};

struct Bernoulli {
  Begin begin;
  double p;
  INVAR_HD float operator()(std::int64_t i) const {
    return random_bernoulli(begin.seed, begin.offset(), static_cast<std::uint64_t>(i), p) ? 1.0f
                                                                                          : 0.0f;
  }
};

template <class T>
struct Normal {
  Begin begin;
  INVAR_HD T operator()(std::int64_t i) const {
    return random_normal<T>(begin.seed, begin.offset(), static_cast<std::uint64_t>(i));
  }
};

template <class T>
struct Uniform {
  Begin begin;
  INVAR_HD T operator()(std::int64_t i) const {
    return random_uniform<T>(begin.seed, begin.offset(), static_cast<std::uint64_t>(i));
  }
};

}  // namespace

void copy(const Tensor& x, const Tensor& out) {
  visit(out.dtype(), [&]<class Out>() {
    visit(x.dtype(), [&]<class In>() { elementwise<Out, In>(out, Convert<Out>{}, x); });
  });
}

Tensor dense_copy(const Tensor& x) {
  const Tensor out = empty(x.shape(), x.options());
  copy(x, out);
  return out;
}

Tensor aligned(const Tensor& x) {
  if (!x.defined() || reinterpret_cast<std::uintptr_t>(x.raw_data()) % 16 == 0) return x;
  return dense_copy(x);
}

void fill(double value, const Tensor& out) {
  visit(out.dtype(),
        [&]<class T>() { elementwise<T>(out, Constant<T>{functors::convert<T>(value)}); });
}

void arange(double start, double step, const Tensor& out) {
  functors::visit_stored_number(out.dtype(), "arange", [&]<class S>() {
    enumerate<S>(out, Range{start, step});
  });
}

void random(RandomOp op, Params params, std::uint64_t seed, std::uint64_t offset,
            const Tensor& out) {
  if (out.numel() == 0) return;  // nothing was reserved for it
  const Begin begin{seed, random_offset(seed, offset)};
  if (op == RandomOp::integer) {
    const Integers integers{begin, static_cast<std::int64_t>(params[0]),
                            static_cast<std::int64_t>(params[1])};
    return visit_number(out.dtype(), "randint", [&]<class T>() { enumerate<T>(out, integers); });
  }
  if (op == RandomOp::bernoulli) {
    return visit(out.dtype(), [&]<class T>() { enumerate<T>(out, Bernoulli{begin, params[0]}); });
  }
  visit_real(out.dtype(), op == RandomOp::normal ? "randn" : "rand", [&]<class T>() {
    if (op == RandomOp::normal) {
      enumerate<T>(out, Normal<T>{begin});
    } else {
      enumerate<T>(out, Uniform<T>{begin});
    }
  });
}

}  // namespace invar::cuda
