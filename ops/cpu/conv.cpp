// f32 convolution by oneDNN: images stay plain [N, H, W, C]; the layout of the weight is oneDNN's
// choice, so our [O, kh, kw, I] is reordered on the way in and the weight's gradient on the way
// out. Winograd's algorithm takes over where it is faster (winograd.hpp); on AVX2 machines an own
// kernel makes most other weight gradients. bf16 is oneDNN's, too, where the processor has it, on
// AMX with narrow images side by side (image_rows.hpp); elsewhere all of the above, on widened
// copies.
#include <invar/ops/conv_choices.hpp>
#include <invar/ops/cpu/bf16.hpp>
#include <invar/ops/cpu/conv_backward_weight.hpp>
#include <invar/ops/cpu/conv_reference.hpp>
#include <invar/ops/cpu/image_rows.hpp>
#include <invar/ops/cpu/kernels.hpp>
#include <invar/ops/cpu/onednn.hpp>
#include <invar/ops/cpu/winograd.hpp>
#include <invar/ops/machine.hpp>

namespace invar::cpu {
namespace {

/// One problem in oneDNN's terms: it names dimensions in the order NCHW, OIHW whatever the layout.
struct Problem {
  Dims x, weight, y;
  Conv2dOptions o;
  DType dtype;  ///< bias and the weight's gradient are computed_in(dtype)

  ProblemKey key(const char* op) const {
    ProblemKey key(op, {o.stride.height, o.stride.width, o.padding.height, o.padding.width,
                        o.dilation.height, o.dilation.width, o.groups});
    return key.add(x).add(weight).add(static_cast<std::int64_t>(dtype));
  }

  static dnnl::memory::desc image(const Dims& s, DType dtype) {
    const std::int64_t h = s[1], w = s[2], c = s[3];
    return onednn::desc({s[0], c, h, w}, {h * w * c, 1, w * c, c}, dtype);
  }
  dnnl::memory::desc x_desc() const { return image(x, dtype); }
  dnnl::memory::desc y_desc() const { return image(y, dtype); }

  Dims weight_dims() const {
    const Dims oihw{weight[0] / o.groups, weight[3], weight[1], weight[2]};
    return o.groups == 1 ? oihw : Dims{o.groups, oihw[0], oihw[1], oihw[2], oihw[3]};
  }
  /// [O, kh, kw, I] with the output channels split by group.
  dnnl::memory::desc weight_desc() const { return weight_desc(dtype); }
  dnnl::memory::desc weight_gradient_desc() const { return weight_desc(computed_in(dtype)); }
  dnnl::memory::desc weight_desc(DType dtype) const {
    const std::int64_t kh = weight[1], kw = weight[2], i = weight[3], row = kh * kw * i;
    return onednn::desc(weight_dims(),
                        o.groups == 1 ? Dims{row, 1, kw * i, i}
                                      : Dims{weight[0] / o.groups * row, row, 1, kw * i, i},
                        dtype);
  }
  dnnl::memory::desc any_weight() const { return onednn::any(weight_dims(), dtype); }

  dnnl::memory::dims strides() const { return {o.stride.height, o.stride.width}; }
  dnnl::memory::dims dilates() const { return {o.dilation.height - 1, o.dilation.width - 1}; }
  dnnl::memory::dims padding() const { return {o.padding.height, o.padding.width}; }

  dnnl::convolution_forward::primitive_desc forward(bool bias) const {
    return {onednn::engine(),
            dnnl::prop_kind::forward_training,
            dnnl::algorithm::convolution_direct,
            x_desc(),
            any_weight(),
            bias ? onednn::desc({weight[0]}, {1}, computed_in(dtype)) : dnnl::memory::desc(),
            y_desc(),
            strides(),
            dilates(),
            padding(),
            padding(),
            onednn::attributes()};
  }
};

bool is_empty(const Tensor& t) { return t.numel() == 0; }

// A strided 1x1 convolution reads every stride-th pixel only, so it is the plain 1x1 convolution of
// those pixels. oneDNN 3.2 packs them itself into its scratchpad, and writes past its end when the
// channels are not a multiple of the vector width (AVX2): the three functions below pack first.
bool is_strided_pointwise(const Dims& weight, const Conv2dOptions& o) {
  return weight[1] == 1 && weight[2] == 1 && o.padding.height == 0 && o.padding.width == 0 &&
         (o.stride.height > 1 || o.stride.width > 1);
}

/// Every stride-th pixel of x: a view [N, rows, columns, C].
Tensor sampled_view(const Tensor& x, std::int64_t rows, std::int64_t columns,
                    const Conv2dOptions& o) {
  const Dims& s = x.strides();
  return alias(x, {x.shape()[0], rows, columns, x.shape()[3]},
               {s[0], s[1] * o.stride.height, s[2] * o.stride.width, s[3]}, x.offset());
}

Tensor sampled(const Tensor& x, std::int64_t rows, std::int64_t columns, const Conv2dOptions& o) {
  const Tensor view = sampled_view(x, rows, columns, o);
  Tensor dense = empty(view.shape(), x.options());
  copy(view, dense);
  return dense;
}

Conv2dOptions without_stride(Conv2dOptions o) {
  o.stride = 1;
  return o;
}

/// True iff these operands are to be widened: the processor cannot multiply them, or Winograd's
/// algorithm is demanded and INVAR_MAX_CPU_ISA leaves it f32 only.
bool is_to_be_widened(const Tensor& x) {
  return x.dtype() == DType::bf16 &&
         (!has_native_bf16() ||
          (conv_algorithm() == ConvAlgorithm::winograd && !has_winograd(DType::bf16)));
}

/// True iff Winograd's algorithm is to compute this pass; `run` computes it.
template <class F>
bool is_winograd(const ConvProblem& problem, const Dims& outputs, const Conv2dOptions& o,
                 const F& run) {
  if (!has_winograd(problem.dtype) || !winograd_fits(problem.weight, o)) return false;
  time_if_tuning(problem, run);
  const ConvAlgorithm algorithm = conv_algorithm(problem);
  if (algorithm != ConvAlgorithm::automatic) return algorithm == ConvAlgorithm::winograd;
  return winograd_pays(problem, outputs);
}

/// How images are to stand side by side in this pass, if at all; x has the shape of the input.
std::optional<ImageRows> rows_for(ConvPass pass, const Tensor& x, const Dims& weight,
                                  const Conv2dOptions& o) {
  if (!prefers_image_rows(pass, x.dtype(), x.shape()[2])) return {};
  return image_rows(x.shape(), weight, o);
}

// --- oneDNN's convolutions, f32 and bf16

void direct_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const Conv2dOptions& o, const Tensor& out) {
  const Problem p{x.shape(), weight.shape(), out.shape(), o, x.dtype()};
  const bool with_bias = bias.defined();
  const onednn::Primitive conv =
      onednn::primitive(p.key("conv2d").add(with_bias), [&] { return p.forward(with_bias); });
  const auto layout = conv.desc(dnnl::query::weights_md);
  const Tensor w = onednn::reordered(p.key("conv2d weight"), weight, p.weight_desc(), layout);
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, onednn::memory(x, p.x_desc())},
                                                  {DNNL_ARG_WEIGHTS, onednn::memory(w, layout)},
                                                  {DNNL_ARG_DST, onednn::memory(out, p.y_desc())}};
  if (with_bias) arguments[DNNL_ARG_BIAS] = onednn::memory(bias);
  onednn::execute(conv, std::move(arguments));
}

void direct_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  const Problem p{out.shape(), weight.shape(), gradient.shape(), o, out.dtype()};
  const onednn::Primitive conv = onednn::primitive(p.key("conv2d_backward_input"), [&] {
    return dnnl::convolution_backward_data::primitive_desc(
        onednn::engine(), dnnl::algorithm::convolution_direct, p.x_desc(), p.any_weight(),
        p.y_desc(), p.strides(), p.dilates(), p.padding(), p.padding(), p.forward(false),
        onednn::attributes());
  });
  const auto layout = conv.desc(dnnl::query::weights_md);
  const Tensor w =
      onednn::reordered(p.key("conv2d_backward_input weight"), weight, p.weight_desc(), layout);
  onednn::execute(conv, {{DNNL_ARG_DIFF_DST, onednn::memory(gradient, p.y_desc())},
                         {DNNL_ARG_WEIGHTS, onednn::memory(w, layout)},
                         {DNNL_ARG_DIFF_SRC, onednn::memory(out, p.x_desc())}});
}

void direct_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  const Problem p{x.shape(), out.shape(), gradient.shape(), o, x.dtype()};
  const onednn::Primitive conv = onednn::primitive(p.key("conv2d_backward_weight"), [&] {
    return dnnl::convolution_backward_weights::primitive_desc(
        onednn::engine(), dnnl::algorithm::convolution_direct, p.x_desc(),
        onednn::any(p.weight_dims(), computed_in(p.dtype)), p.y_desc(), p.strides(), p.dilates(),
        p.padding(), p.padding(), p.forward(false), onednn::attributes());
  });
  const auto layout = conv.desc(dnnl::query::diff_weights_md);
  const bool direct = layout == p.weight_gradient_desc();
  const Tensor w = direct ? out : onednn::bytes_for(layout);
  onednn::execute(conv, {{DNNL_ARG_SRC, onednn::memory(x, p.x_desc())},
                         {DNNL_ARG_DIFF_DST, onednn::memory(gradient, p.y_desc())},
                         {DNNL_ARG_DIFF_WEIGHTS, onednn::memory(w, layout)}});
  if (!direct) {
    onednn::reorder(p.key("conv2d_backward_weight weight"), w, layout, out,
                    p.weight_gradient_desc());
  }
}

}  // namespace

void conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& o,
            const Tensor& out) {
  if (x.dtype() == DType::f64) return reference::conv2d(x, weight, bias, o, out);
  if (is_empty(out)) return;
  if (is_empty(x)) {  // no channels: the empty sum
    if (bias.defined()) return copy(bias, out);
    return fill(0, out);
  }
  if (is_strided_pointwise(weight.shape(), o)) {
    return conv2d(sampled(x, out.shape()[1], out.shape()[2], o), weight, bias, without_stride(o),
                  out);
  }
  if (is_to_be_widened(x)) {
    return round_into(out,
                      [&](const Tensor& y) { conv2d(widened(x), widened(weight), bias, o, y); });
  }
  if (is_winograd({ConvPass::forward, x.dtype(), x.shape(), weight.shape(), o.padding, o.stride},
                  out.shape(), o, [&] { conv2d(x, weight, bias, o, out); })) {
    return winograd_conv2d(x, weight, bias, o, out);
  }
  if (const auto rows = rows_for(ConvPass::forward, x, weight.shape(), o)) {
    const Tensor wide = rows->room(out, rows->y_pitch);
    direct_conv2d(rows->pack(x, rows->x_pitch), weight, bias, o, wide);
    return rows->unpack(wide, rows->y_pitch, out);
  }
  direct_conv2d(x, weight, bias, o, out);
}

void conv2d_backward_input(const Tensor& gradient, const Tensor& weight, const Conv2dOptions& o,
                           const Tensor& out) {
  if (out.dtype() == DType::f64) return reference::conv2d_backward_input(gradient, weight, o, out);
  if (is_empty(gradient) || is_empty(out)) return fill(0, out);
  if (is_strided_pointwise(weight.shape(), o)) {
    const Dims& g = gradient.shape();
    const Tensor read = empty({g[0], g[1], g[2], out.shape()[3]}, out.options());
    conv2d_backward_input(gradient, weight, without_stride(o), read);
    fill(0, out);
    return copy(read, sampled_view(out, g[1], g[2], o));
  }
  if (is_to_be_widened(gradient)) {
    return round_into(out, [&](const Tensor& y) {
      conv2d_backward_input(widened(gradient), widened(weight), o, y);
    });
  }
  if (is_winograd(
          {ConvPass::backward_input, out.dtype(), out.shape(), weight.shape(), o.padding, o.stride},
          gradient.shape(), o, [&] { conv2d_backward_input(gradient, weight, o, out); })) {
    return winograd_conv2d_backward_input(gradient, weight, o, out);
  }
  if (const auto rows = rows_for(ConvPass::backward_input, out, weight.shape(), o)) {
    const Tensor wide = rows->room(out, rows->x_pitch);
    direct_backward_input(rows->pack(gradient, rows->y_pitch), weight, o, wide);
    return rows->unpack(wide, rows->x_pitch, out);
  }
  direct_backward_input(gradient, weight, o, out);
}

void conv2d_backward_weight(const Tensor& gradient, const Tensor& x, const Conv2dOptions& o,
                            const Tensor& out) {
  if (out.dtype() == DType::f64) return reference::conv2d_backward_weight(gradient, x, o, out);
  if (is_empty(gradient) || is_empty(x)) return fill(0, out);
  if (is_strided_pointwise(out.shape(), o)) {
    return conv2d_backward_weight(gradient, sampled(x, gradient.shape()[1], gradient.shape()[2], o),
                                  without_stride(o), out);
  }
  if (is_to_be_widened(x)) {
    return conv2d_backward_weight(widened(gradient), widened(x), o, out);
  }
  if (is_winograd(
          {ConvPass::backward_weight, x.dtype(), x.shape(), out.shape(), o.padding, o.stride},
          gradient.shape(), o, [&] { conv2d_backward_weight(gradient, x, o, out); })) {
    return winograd_conv2d_backward_weight(gradient, x, o, out);
  }
  if (x.dtype() == DType::f32 && !has_avx512() &&
      prefers_avx2_backward_weight(x.shape(), out.shape(), gradient.shape(), o)) {
    return conv2d_backward_weight_avx2(gradient, x, o, out);
  }
  if (const auto rows = rows_for(ConvPass::backward_weight, x, out.shape(), o)) {
    return direct_backward_weight(rows->pack(gradient, rows->y_pitch), rows->pack(x, rows->x_pitch),
                                  o, out);
  }
  direct_backward_weight(gradient, x, o, out);
}

}  // namespace invar::cpu
