#include <atomic>
#include <invar/core/autograd/record.hpp>
#include <invar/ops/autocast.hpp>
#include <invar/ops/conv.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/kernels.hpp>
#include <invar/ops/reduce.hpp>

namespace invar {
namespace {

/// Checks that an input and a weight of these shapes fit together; returns the output's shape.
Dims output_shape(const char* op, const Dims& x, const Dims& weight, const Conv2dOptions& o) {
  check_size(op, "stride", o.stride, 1);
  check_size(op, "padding", o.padding, 0);
  check_size(op, "dilation", o.dilation, 1);
  check(x.size() == 4, op, "expected input [N,H,W,C], got {}", x);
  check(weight.size() == 4, op, "expected weight [O,kh,kw,I], got {}", weight);
  check(weight[1] > 0 && weight[2] > 0, op, "expected a kernel of at least 1x1, got weight {}",
        weight);
  // Shapes that are given and are no tensor's may be of any size.
  for (const Dims* shape : {&x, &weight}) numel_of(*shape);
  check_size(op, "kernel", {weight[1], weight[2]}, 1);
  check(o.groups >= 1 && weight[0] % o.groups == 0, op,
        "expected groups that divide the {} output channels, got {}", weight[0], o.groups);
  check(x[3] % o.groups == 0 && x[3] / o.groups == weight[3], op,
        "expected input [N,H,W,C] with C = {} (weight is {}, groups {}), got {}",
        weight[3] * o.groups, weight, o.groups, x);
  const std::int64_t rows =
      window_count(x[1], weight[1], o.stride.height, o.padding.height, o.dilation.height);
  const std::int64_t columns =
      window_count(x[2], weight[2], o.stride.width, o.padding.width, o.dilation.width);
  check(rows > 0 && columns > 0, op,
        "expected an image of at least {}x{} (padding included), got input {}: pad more or use a "
        "smaller kernel (weight is {})",
        (weight[1] - 1) * o.dilation.height + 1, (weight[2] - 1) * o.dilation.width + 1, x, weight);
  return {x[0], rows, columns, weight[0]};
}

void check_dtypes(const char* op, const Tensor& a, const char* name, const Tensor& b) {
  check_floating(op, a.dtype());
  check(a.dtype() == b.dtype(), op, "expected {} of dtype {}, got {}: convert it with to()", name,
        a.dtype(), b.dtype());
}

/// A parameter beside data x, and what takes its place, may be f32 if x is bf16.
void check_parameter(const char* op, const Tensor& x, const char* name, const Tensor& parameter) {
  if (x.dtype() != DType::bf16 || parameter.dtype() != DType::f32) {
    check_dtypes(op, x, name, parameter);
  }
}

void check_gradient(const char* op, const Tensor& gradient, const Dims& expected) {
  check(gradient.shape() == expected, op, "expected a gradient of the output's shape {}, got {}",
        expected, gradient.shape());
}

std::atomic<ConvAlgorithm> algorithm_in_use = ConvAlgorithm::automatic;

}  // namespace

void set_conv_algorithm(ConvAlgorithm algorithm) { algorithm_in_use = algorithm; }
ConvAlgorithm conv_algorithm() { return algorithm_in_use; }

// dy = conv2d(dx, w) + conv2d(x, dw) + db
Tensor conv2d(const Tensor& image, const Tensor& weight, const Tensor& bias,
              const Conv2dOptions& o) {
  const Tensor input = autocast("conv2d", image);
  const Device device = common_device("conv2d", {input, weight, bias.defined() ? bias : input});
  const Dims shape = output_shape("conv2d", input.shape(), weight.shape(), o);
  check_parameter("conv2d", input, "weight", weight);
  if (bias.defined()) {
    check_parameter("conv2d", input, "bias", bias);
    check(bias.shape() == Dims{weight.shape()[0]}, "conv2d", "expected bias [{}], got {}",
          weight.shape()[0], bias.shape());
  }
  const Tensor x = contiguous(input), w = contiguous(weight);
  const Tensor b = bias.defined() ? contiguous(bias) : bias;
  Tensor out = empty(shape, x.options());
  kernel(&Kernels::conv2d, device, "conv2d")(
      x, lowered(w, x.dtype()), b.defined() ? to(b.detach(), computed_in(x.dtype())) : b, o, out);
  const DType b_dtype = b.defined() ? b.dtype() : x.dtype();
  return record("conv2d", {x, w, b}, out,
                [x = SavedTensor::when(w.requires_grad(), x),
                 w = SavedTensor::when(x.requires_grad(), w), image = x.shape(), kernel = w.shape(),
                 w_dtype = w.dtype(), b_dtype, o](const Tensor& g, Needs needs) -> Tensors {
                  Tensor dx, dw, db;
                  if (needs[0]) dx = conv2d_backward_input(g, w.get(), image, o);
                  if (needs[1]) dw = to(conv2d_backward_weight(g, x.get(), kernel, o), w_dtype);
                  if (needs[2]) db = sum(to(g, b_dtype), {0, 1, 2});
                  return {dx, dw, db};
                });
}

// x' = T(w) g is linear in g and w, and <T(w) g, c> = <g, conv2d(c, w)>
Tensor conv2d_backward_input(const Tensor& output_gradient, const Tensor& weight,
                             const Dims& input_shape, const Conv2dOptions& o) {
  constexpr const char* kOp = "conv2d_backward_input";
  const Tensor gradient = autocast(kOp, output_gradient);
  const Device device = common_device(kOp, {gradient, weight});
  check_gradient(kOp, gradient, output_shape(kOp, input_shape, weight.shape(), o));
  check_parameter(kOp, gradient, "weight", weight);
  const Tensor g = contiguous(gradient), w = contiguous(weight);
  Tensor out = empty(input_shape, g.options());
  kernel(&Kernels::conv2d_backward_input, device, kOp)(g, lowered(w, g.dtype()), o, out);
  return record(
      kOp, {g, w}, out,
      [g = SavedTensor::when(w.requires_grad(), g), w = SavedTensor::when(g.requires_grad(), w),
       kernel = w.shape(), dtype = w.dtype(), o](const Tensor& c, Needs needs) -> Tensors {
        Tensor dg, dw;
        if (needs[0]) dg = conv2d(c, w.get(), {}, o);
        if (needs[1]) dw = to(conv2d_backward_weight(g.get(), c, kernel, o), dtype);
        return {dg, dw};
      });
}

// w' = V(x) g is linear in g and x, and <V(x) g, c> = <g, conv2d(x, c)>
Tensor conv2d_backward_weight(const Tensor& output_gradient, const Tensor& image,
                              const Dims& weight_shape, const Conv2dOptions& o) {
  constexpr const char* kOp = "conv2d_backward_weight";
  const Tensor gradient = autocast(kOp, output_gradient), input = autocast(kOp, image);
  const Device device = common_device(kOp, {gradient, input});
  check_gradient(kOp, gradient, output_shape(kOp, input.shape(), weight_shape, o));
  check_dtypes(kOp, gradient, "input", input);
  const Tensor g = contiguous(gradient), x = contiguous(input);
  Tensor out = empty(weight_shape, {.dtype = computed_in(g.dtype()), .device = device});
  kernel(&Kernels::conv2d_backward_weight, device, kOp)(g, x, o, out);
  return record(
      kOp, {g, x}, out,
      [g = SavedTensor::when(x.requires_grad(), g), x = SavedTensor::when(g.requires_grad(), x),
       image = x.shape(), o](const Tensor& c, Needs needs) -> Tensors {
        return {needs[0] ? conv2d(x.get(), c, {}, o) : Tensor(),
                needs[1] ? conv2d_backward_input(g.get(), c, image, o) : Tensor()};
      });
}

}  // namespace invar
