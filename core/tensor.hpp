#pragma once
// Tensor: a view of a storage, and the place where gradients attach.
//
//   Tensor --> TensorImpl --> Storage          bytes, device, version (storage.hpp)
//                  |   shape, strides, offset, dtype, requires_grad
//                  +-> AutogradMeta            grad, and how it was computed:
//                         grad_fn, output_nr   an interior tensor: the node that made it, or
//                         sink                 a leaf: the node that accumulates into .grad
//
// A Tensor is a handle: copying it shares the impl, so `a = b` makes two names for one tensor.
// Geometry (shape, strides, offset, dtype) never changes after construction; bytes and autograd
// state may. Operations are free functions (ops/), so this header knows nothing of arithmetic.
//
// Threads: different threads may read one tensor, build graphs over shared leaves, and run backward
// each over its own (the order in which they add to a leaf's gradient is not fixed). Writing to a
// tensor, or running backward over one graph, is for one thread at a time.
#include <cstdint>
#include <functional>
#include <invar/core/device.hpp>
#include <invar/core/dtype.hpp>
#include <invar/core/intrusive_ptr.hpp>
#include <invar/core/shape.hpp>
#include <invar/core/storage.hpp>
#include <memory>
#include <string>
#include <vector>

namespace invar {

class Node;
class GradSink;
class Tensor;
using NodePtr = IntrusivePtr<Node>;
using Tensors = std::vector<Tensor, PoolAllocator<Tensor>>;

/// How to make a tensor: `zeros({2, 3}, {.dtype = DType::f64})`.
struct TensorOptions {
  DType dtype = DType::f32;
  Device device = kCpu;
  bool requires_grad = false;
};

struct AutogradMeta;

class TensorImpl final : public RefCounted {
 public:
  TensorImpl(StoragePtr storage, std::int64_t offset, const Dims& shape, const Dims& strides,
             DType dtype);
  /// Row-major and dense from the beginning of the storage; `numel` is the shape's.
  TensorImpl(StoragePtr storage, const Dims& shape, std::int64_t numel, DType dtype);

  const StoragePtr storage;
  const std::int64_t offset;  ///< of the first element, in elements
  const Dims shape;
  const Dims strides;  ///< in elements; 0 where a size-1 dimension was expanded
  const std::int64_t numel;
  const DType dtype;
  const bool contiguous;  ///< true iff row-major and dense
  bool requires_grad = false;
  std::unique_ptr<AutogradMeta> autograd;  ///< set if it requires grad, or did once

 private:
  ~TensorImpl() override;
};

/// Receives a gradient; what it returns replaces the gradient, unless undefined.
using GradHook = std::function<Tensor(const Tensor& gradient)>;

class Tensor {
 public:
  /// Undefined: no shape, no data. Stands for "no gradient" and for optional arguments.
  Tensor() = default;
  explicit Tensor(IntrusivePtr<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  /// True iff both are the same tensor (not merely equal values).
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }

  const Dims& shape() const { return impl().shape; }
  const Dims& strides() const { return impl().strides; }
  int dim() const { return impl().shape.size(); }
  /// Size of one dimension; negative counts from the last. Error for a scalar: it has none.
  std::int64_t size(int dim) const {
    check(this->dim() > 0, "size", "expected a tensor with dimensions, got a scalar");
    return impl().shape[wrap_dim(dim, this->dim(), "size")];
  }
  std::int64_t numel() const { return impl().numel; }
  DType dtype() const { return impl().dtype; }
  Device device() const { return impl().storage->device(); }
  TensorOptions options() const { return {dtype(), device(), false}; }
  bool is_contiguous() const { return impl().contiguous; }
  std::int64_t offset() const { return impl().offset; }
  const StoragePtr& storage() const { return impl().storage; }

  /// Address of the first element. The typed form throws Error unless T is the tensor's dtype.
  /// Writing through it is invisible to autograd: see bump_version.
  void* raw_data() const {
    return static_cast<char*>(impl().storage->data()) + impl().offset * size_of(impl().dtype);
  }
  template <class T>
  T* data() const {
    check(dtype_of<std::remove_const_t<T>> == dtype(), "data", "expected dtype {}, got {}",
          dtype_of<std::remove_const_t<T>>, dtype());
    return static_cast<T*>(raw_data());
  }
  std::uint32_t version() const { return impl().storage->version(); }
  /// To be called after writing into the storage by hand, so that autograd notices.
  void bump_version() const { impl().storage->bump_version(); }

  /// The value of a one-element tensor; Error if there are more or none.
  template <class T = double>
  T item() const {
    return visit(dtype(), [this]<class From>() {
      From value;
      read_item(&value);
      return static_cast<T>(value);
    });
  }

  // --- gradients

  bool requires_grad() const { return impl_ && impl_->requires_grad; }
  /// Makes a leaf track gradients (floating dtypes only), or stop doing so. While it does not, none
  /// arrives, not even from graphs recorded before, and .grad() is undefined; what was accumulated
  /// is there again when it goes on, and so are hooks.
  const Tensor& requires_grad_(bool on = true) const;
  /// True iff no recorded operation made it.
  bool is_leaf() const;
  /// The node that made this tensor; null for a leaf.
  NodePtr grad_fn() const;
  /// The accumulated gradient; undefined before the first backward.
  Tensor grad() const;
  /// Undefined: drops it, also that of a leaf which does not track gradients at the moment. It is
  /// kept as it is, not copied, and the next backward adds to it in place.
  void set_grad(Tensor gradient) const;
  /// Makes an interior tensor accumulate its gradient in .grad() too, as hooks have left it.
  void retain_grad() const;
  /// Same bytes, no history.
  Tensor detach() const;

  /// Accumulates d(this)/d(leaf) into every leaf's .grad(). `gradient` (default: 1, for a
  /// one-element tensor) is the vector of the vector-Jacobian product. Saved tensors are freed on
  /// the way unless `retain_graph`; with `create_graph` the gradients are differentiable themselves
  /// (and the graph is retained). A leaf's .grad() then leads back to the leaf and keeps both alive
  /// until set_grad({}): prefer grad() of core/autograd/engine.hpp.
  void backward(const Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) const;

  /// Runs on the gradient of this tensor once it is complete, before it flows on. Hooks stay for as
  /// long as the tensor has its history.
  void register_hook(GradHook hook) const;
  /// Runs after a leaf's .grad() has received the last contribution of a backward pass.
  void register_post_accumulate_grad_hook(std::function<void(const Tensor& leaf)> hook) const;

  /// The object behind the handle; Error if undefined.
  TensorImpl& impl() const {
    if (!impl_) [[unlikely]]
      throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();
  /// Copies the one element to `to`, waiting for a GPU that still computes it.
  void read_item(void* to) const;

  IntrusivePtr<TensorImpl> impl_;
};

/// Uninitialised values. Factories that fill them are in ops/factory.hpp.
Tensor empty(const Dims& shape, TensorOptions options = {});
inline Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.options()); }

/// A tensor over foreign memory that must stay valid until `deleter` (may be empty) has run.
Tensor from_blob(void* data, const Dims& shape, TensorOptions options = {},
                 std::function<void()> deleter = {});

/// Another view of x's storage without history; Error if not every element lies inside. The views
/// of ops/view.hpp are built on it and record their gradients.
Tensor alias(const Tensor& x, const Dims& shape, const Dims& strides, std::int64_t offset);

/// Values as nested brackets, long dimensions shortened, then dtype, shape and grad_fn.
std::string to_string(const Tensor& tensor);

}  // namespace invar

template <>
struct fmt::formatter<invar::Tensor> : fmt::formatter<std::string> {
  auto format(const invar::Tensor& t, fmt::format_context& ctx) const {
    return fmt::formatter<std::string>::format(invar::to_string(t), ctx);
  }
};
