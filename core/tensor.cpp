#include <cstring>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/tensor.hpp>

namespace invar {

TensorImpl::TensorImpl(StoragePtr storage_, std::int64_t offset_, const Dims& shape_,
                       const Dims& strides_, DType dtype_)
    : storage(std::move(storage_)),
      offset(offset_),
      shape(shape_),
      strides(strides_),
      numel(numel_of(shape)),
      dtype(dtype_),
      contiguous(invar::is_contiguous(shape, strides)) {}

TensorImpl::TensorImpl(StoragePtr storage_, const Dims& shape_, std::int64_t numel_, DType dtype_)
    : storage(std::move(storage_)),
      offset(0),
      shape(shape_),
      strides(contiguous_strides(shape)),
      numel(numel_),
      dtype(dtype_),
      contiguous(true) {}

TensorImpl::~TensorImpl() = default;

void Tensor::throw_undefined() {
  throw Error(
      "[tensor] expected a tensor, got an undefined one: it was default-constructed, or is "
      "a gradient that was never computed");
}

const Tensor& Tensor::requires_grad_(bool on) const {
  check(is_leaf(), "requires_grad_",
        "expected a leaf, got a result of shape {}: detach() it to cut its history", shape());
  check(!on || is_floating(dtype()), "requires_grad_", "expected a floating dtype, got {}",
        dtype());
  if (on && !impl().autograd) {
    auto meta = std::make_unique<AutogradMeta>();
    meta->sink = make_intrusive<GradSink>(impl());
    impl().autograd = std::move(meta);
  }
  impl().requires_grad = on;
  return *this;
}

NodePtr Tensor::grad_fn() const { return requires_grad() ? impl().autograd->grad_fn : NodePtr(); }

bool Tensor::is_leaf() const { return !grad_fn(); }

Tensor Tensor::grad() const {
  return requires_grad() && impl().autograd->grad ? *impl().autograd->grad : Tensor();
}

void Tensor::set_grad(Tensor gradient) const {
  if (!gradient.defined() && !impl().autograd) return;
  if (gradient.defined()) {
    check(requires_grad(), "set_grad", "expected a tensor that requires grad");
    checked_gradient("set_grad", TensorMeta(*this), gradient);
    // The next backward adds to it in place.
    check(gradient.is_contiguous() && gradient.storage() != storage(), "set_grad",
          "expected a dense gradient with memory of its own, got a view: clone() it");
  }
  *impl().autograd->grad_slot() = std::move(gradient);
}

void Tensor::retain_grad() const {
  check(requires_grad(), "retain_grad", "expected a tensor that requires grad");
  if (is_leaf()) return;
  const Edge edge = edge_of(*this);
  edge.node->retain_gradient(edge.output_nr, impl().autograd->grad_slot());
}

Tensor Tensor::detach() const { return alias(*this, shape(), strides(), offset()); }

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  invar::backward({*this}, {gradient},
                  {.retain_graph = retain_graph, .create_graph = create_graph});
}

void Tensor::register_hook(GradHook hook) const {
  check(requires_grad(), "register_hook", "expected a tensor that requires grad");
  const Edge edge = edge_of(*this);
  edge.node->add_hook(edge.output_nr, std::move(hook));
}

void Tensor::register_post_accumulate_grad_hook(
    std::function<void(const Tensor& leaf)> hook) const {
  check(requires_grad() && is_leaf(), "register_post_accumulate_grad_hook",
        "expected a leaf that requires grad");
  impl().autograd->sink->add_post_hook(std::move(hook));
}

void Tensor::read_item(void* to) const {
  check(numel() == 1, "item", "expected a tensor of one element, got shape {}", shape());
  if (device() == kCpu) {
    std::memcpy(to, raw_data(), size_of(dtype()));
  } else {
    cuda::copy_bytes(to, kCpu, raw_data(), device(), size_of(dtype()));
  }
}

Tensor empty(const Dims& shape, TensorOptions options) {
  const std::int64_t numel = numel_of(shape);
  const auto bytes = static_cast<std::size_t>(numel) * size_of(options.dtype);
  Tensor out(make_intrusive<TensorImpl>(make_intrusive<Storage>(bytes, options.device), shape,
                                        numel, options.dtype));
  if (options.requires_grad) out.requires_grad_();
  return out;
}

Tensor from_blob(void* data, const Dims& shape, TensorOptions options,
                 std::function<void()> deleter) {
  const std::int64_t numel = numel_of(shape);
  const auto bytes = static_cast<std::size_t>(numel) * size_of(options.dtype);
  check(data != nullptr || bytes == 0, "from_blob", "expected memory, got nullptr");
  Tensor out(make_intrusive<TensorImpl>(
      make_intrusive<Storage>(data, bytes, options.device, std::move(deleter)), shape, numel,
      options.dtype));
  if (options.requires_grad) out.requires_grad_();
  return out;
}

Tensor alias(const Tensor& x, const Dims& shape, const Dims& strides, std::int64_t offset) {
  check(shape.size() == strides.size(), "alias", "expected a stride per dimension, got {} for {}",
        strides, shape);
  std::int64_t first = offset, last = offset;  // elements of the storage that it reaches
  bool inside = true;
  for (int d = 0; d < shape.size(); ++d) {
    std::int64_t reach = 0;
    std::int64_t& end = strides[d] < 0 ? first : last;
    inside = inside && !__builtin_mul_overflow(shape[d] - 1, strides[d], &reach) &&
             !__builtin_add_overflow(end, reach, &end);
  }
  const auto elements = static_cast<std::int64_t>(x.storage()->bytes() / size_of(x.dtype()));
  check((inside && first >= 0 && last < elements) || numel_of(shape) == 0, "alias",
        "expected elements inside of a storage of {}, got shape {}, strides {} and offset {}",
        elements, shape, strides, offset);
  return Tensor(make_intrusive<TensorImpl>(x.storage(), offset, shape, strides, x.dtype()));
}

}  // namespace invar
