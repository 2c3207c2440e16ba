#pragma once
// oneDNN for the CPU's kernels. Only sources in ops/cpu include this: dnnl.hpp is large.
//
//   const auto conv = onednn::primitive({"conv2d", {n, h, w, c, ...}}, [&] {
//     return dnnl::convolution_forward::primitive_desc(onednn::engine(), ...);
//   });
//   const auto x_layout = conv.desc(dnnl::query::src_md);
//   onednn::execute(conv, {{DNNL_ARG_SRC, onednn::memory(x, x_layout)}, ...});
//
//   - primitive() looks its key up in one bounded cache of the process (primitive_cache.hpp) and
//     calls the maker only on a miss. The key must hold everything the maker uses: shapes, strides,
//     dtype, flags. The number of threads is added here: oneDNN compiles it into the primitive.
//   - Scratchpads are in user mode and come from our allocator: in library mode a primitive owns
//     its scratchpad, and running it on another thread than its creator's crashes.
//   - f32 is strict f32 (attributes()), whatever ONEDNN_DEFAULT_FPMATH_MODE says.
//   - oneDNN has no f64.
//
// Threads: everything may be called from several threads; each has a stream of its own.
#include <cstdint>
#include <dnnl.hpp>
#include <functional>
#include <invar/core/tensor.hpp>
#include <invar/ops/problem_key.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace invar::cpu::onednn {

struct Primitive {
  dnnl::primitive run;
  dnnl::primitive_desc_base about;

  /// The layout of one of its tensors: desc(dnnl::query::weights_md).
  dnnl::memory::desc desc(dnnl::query what, int index = 0) const {
    return about.query_md(what, index);
  }
};

dnnl::engine& engine();

/// Strict f32, user scratchpad. Every primitive descriptor takes them.
dnnl::primitive_attr attributes();

/// oneDNN's name of f32, bf16, i32, u8; InternalError for a dtype that it has not.
dnnl::memory::data_type data_type(DType dtype);

dnnl::memory::dims dims(const Dims& d);

/// A tensor's shape and strides.
dnnl::memory::desc desc(const Tensor& x);
/// The same elements under another shape and strides.
dnnl::memory::desc desc(const Dims& shape, const Dims& strides, DType dtype);
/// A layout of oneDNN's choice.
dnnl::memory::desc any(const Dims& shape, DType dtype);

/// x's bytes seen through a layout (by default its own).
dnnl::memory memory(const Tensor& x, const dnnl::memory::desc& layout);
dnnl::memory memory(const Tensor& x);

/// A block of bytes to be seen through a layout.
Tensor bytes_for(const dnnl::memory::desc& layout);

/// Runs on this thread's stream and returns when the result is there.
void execute(const Primitive& primitive, std::unordered_map<int, dnnl::memory> arguments);

/// x, whose layout is `from`, copied to the layout `to`; x itself if they are equal. The result is
/// a block of bytes to be seen through `to`. `key` has an op of its own ("conv2d weights") and what
/// determines both layouts.
Tensor reordered(ProblemKey key, const Tensor& x, const dnnl::memory::desc& from,
                 const dnnl::memory::desc& to);
/// The same into the existing tensor `out`.
void reorder(ProblemKey key, const Tensor& x, const dnnl::memory::desc& from, const Tensor& out,
             const dnnl::memory::desc& to);

/// The type-erased part of primitive().
Primitive find_or_make(ProblemKey key, const std::function<Primitive()>& make);

/// The cached primitive of `key`, made from the primitive descriptor that make_descriptor()
/// returns.
template <class MakeDescriptor>
Primitive primitive(ProblemKey key, const MakeDescriptor& make_descriptor) {
  return find_or_make(std::move(key), [&]() -> Primitive {
    const auto descriptor = make_descriptor();
    return {dnnl::primitive(descriptor.get()), descriptor};
  });
}

}  // namespace invar::cpu::onednn
