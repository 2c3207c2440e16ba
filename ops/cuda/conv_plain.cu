#include <invar/ops/cuda/conv_plain.hpp>
#include <invar/ops/cuda/elementwise.cuh>
#include <invar/ops/functors/convert.hpp>

namespace invar::cuda::plain {
namespace {

using functors::convert;

/// The numbers of conv.hpp's formula.
struct Geometry {
  std::int64_t images, rows, columns, channels;      // of x
  std::int64_t kernel_rows, kernel_columns;          // of the weight
  std::int64_t out_rows, out_columns, out_channels;  // of y
  std::int64_t inputs, outputs;                      // channels of a group
  Size2 stride, padding, dilation;

  Geometry(const Dims& x, const Dims& weight, const Dims& y, const Conv2dOptions& o)
      : images(x[0]),
        rows(x[1]),
        columns(x[2]),
        channels(x[3]),
        kernel_rows(weight[1]),
        kernel_columns(weight[2]),
        out_rows(y[1]),
        out_columns(y[2]),
        out_channels(y[3]),
        inputs(weight[3]),
        outputs(y[3] / o.groups),
        stride(o.stride),
        padding(o.padding),
        dilation(o.dilation) {}

  /// The input's row that output row p reads with row a of the kernel; it may lie outside.
  INVAR_HD std::int64_t row(std::int64_t p, std::int64_t a) const {
    return p * stride.height - padding.height + a * dilation.height;
  }
  INVAR_HD std::int64_t column(std::int64_t q, std::int64_t b) const {
    return q * stride.width - padding.width + b * dilation.width;
  }
  INVAR_HD std::int64_t at_x(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) const {
    return ((n * rows + h) * columns + w) * channels + c;
  }
  INVAR_HD std::int64_t at_weight(std::int64_t o, std::int64_t a, std::int64_t b,
                                  std::int64_t i) const {
    return ((o * kernel_rows + a) * kernel_columns + b) * inputs + i;
  }
  INVAR_HD std::int64_t at_y(std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t o) const {
    return ((n * out_rows + p) * out_columns + q) * out_channels + o;
  }
};

template <class T, class Bias>
struct Forward {
  Geometry g;
  const T* x;
  const T* weight;
  const Bias* bias;

  INVAR_HD double operator()(std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t o) const {
    const std::int64_t first = o / g.outputs * g.inputs;
    double sum = bias ? convert<double>(bias[o]) : 0.0;
    for (std::int64_t a = 0; a < g.kernel_rows; ++a) {
      const std::int64_t h = g.row(p, a);
      if (h < 0 || h >= g.rows) continue;
      for (std::int64_t b = 0; b < g.kernel_columns; ++b) {
        const std::int64_t w = g.column(q, b);
        if (w < 0 || w >= g.columns) continue;
        const T* const pixel = x + g.at_x(n, h, w, first);
        const T* const tap = weight + g.at_weight(o, a, b, 0);
        for (std::int64_t i = 0; i < g.inputs; ++i) {
          sum += convert<double>(pixel[i]) * convert<double>(tap[i]);
        }
      }
    }
    return sum;
  }
};

template <class T>
struct BackwardInput {
  Geometry g;
  const T* gradient;
  const T* weight;

  INVAR_HD double operator()(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) const {
    const std::int64_t first = c / g.inputs * g.outputs, i = c % g.inputs;
    double sum = 0;
    for (std::int64_t a = 0; a < g.kernel_rows; ++a) {
      // h = row(p, a) solved for p
      const std::int64_t down = h + g.padding.height - a * g.dilation.height;
      const std::int64_t p = down / g.stride.height;
      if (down < 0 || down % g.stride.height != 0 || p >= g.out_rows) continue;
      for (std::int64_t b = 0; b < g.kernel_columns; ++b) {
        const std::int64_t right = w + g.padding.width - b * g.dilation.width;
        const std::int64_t q = right / g.stride.width;
        if (right < 0 || right % g.stride.width != 0 || q >= g.out_columns) continue;
        for (std::int64_t o = first; o < first + g.outputs; ++o) {
          sum += convert<double>(gradient[g.at_y(n, p, q, o)]) *
                 convert<double>(weight[g.at_weight(o, a, b, i)]);
        }
      }
    }
    return sum;
  }
};

template <class T>
struct BackwardWeight {
  Geometry g;
  const T* gradient;
  const T* x;

  INVAR_HD double operator()(std::int64_t o, std::int64_t a, std::int64_t b, std::int64_t i) const {
    const std::int64_t c = o / g.outputs * g.inputs + i;
    double sum = 0;
    for (std::int64_t n = 0; n < g.images; ++n) {
      for (std::int64_t p = 0; p < g.out_rows; ++p) {
        const std::int64_t h = g.row(p, a);
        if (h < 0 || h >= g.rows) continue;
        for (std::int64_t q = 0; q < g.out_columns; ++q) {
          const std::int64_t w = g.column(q, b);
          if (w < 0 || w >= g.columns) continue;
          sum += convert<double>(gradient[g.at_y(n, p, q, o)]) *
                 convert<double>(x[g.at_x(n, h, w, c)]);
        }
      }
    }
    return sum;
  }
};

template <class Out, class F>
struct Element {
  F f;
  std::int64_t sizes[4];
  Out* out;

  INVAR_HD void operator()(std::int64_t i) const {
    std::int64_t rest = i, index[4];
    for (int d = 3; d >= 0; --d) {
      index[d] = rest % sizes[d];
      rest /= sizes[d];
    }
    out[i] = convert<Out>(f(index[0], index[1], index[2], index[3]));
  }
};

/// out[i0, i1, i2, i3] = f(i0, i1, i2, i3)
template <class Out, class F>
void each_element(const char* op, const F& f, const Tensor& out) {
  const Dims& s = out.shape();
  for_each(op, out, out.numel(), Element<Out, F>{f, {s[0], s[1], s[2], s[3]}, out.data<Out>()});
}

/// Calls f.operator()<T, U>() with the type of the operands and that of sums.
template <class F>
void visit_operands(DType dtype, const F& f) {
  if (dtype == DType::f64) return f.template operator()<double, double>();
  if (dtype == DType::f32) return f.template operator()<float, float>();
  f.template operator()<BFloat16, float>();
}

struct Add {
  template <class T, class U>
  INVAR_HD T operator()(T a, U b) const {
    return convert<T>(convert<U>(a) + b);
  }
};

}  // namespace

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out) {
  const Geometry g(x.shape(), weight.shape(), out.shape(), o);
  visit_operands(x.dtype(), [&]<class T, class U>() {
    const U* const added = bias.defined() ? bias.data<const U>() : nullptr;
    each_element<T>("conv2d", Forward<T, U>{g, x.data<const T>(), weight.data<const T>(), added},
                    out);
  });
}

void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  const Geometry g(out.shape(), weight.shape(), gradient.shape(), o);
  visit_operands(out.dtype(), [&]<class T, class>() {
    each_element<T>("conv2d_backward_input",
                    BackwardInput<T>{g, gradient.data<const T>(), weight.data<const T>()}, out);
  });
}

void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  const Geometry g(x.shape(), out.shape(), gradient.shape(), o);
  visit_operands(x.dtype(), [&]<class T, class U>() {
    each_element<U>("conv2d_backward_weight",
                    BackwardWeight<T>{g, gradient.data<const T>(), x.data<const T>()}, out);
  });
}

void add_bias(const Tensor& bias, const Tensor& out) {
  visit_operands(out.dtype(),
                 [&]<class T, class U>() { elementwise<T, T, U>(out, Add{}, out, bias); });
}

}  // namespace invar::cuda::plain
