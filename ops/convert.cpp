#include <cmath>
#include <invar/core/autograd/record.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/in_place.hpp>
#include <invar/ops/kernels.hpp>

namespace invar {
namespace {

Tensor copied(const char* name, const Tensor& x, DType dtype) {
  Tensor out = empty(x.shape(), {.dtype = dtype, .device = x.device()});
  kernel(&Kernels::copy, x.device(), name)(x, out);
  return out;
}

}  // namespace

Tensor to(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor out = copied("to", x, dtype);
  if (!is_floating(dtype)) return out;
  return record("to", {x}, out,
                [from = x.dtype()](const Tensor& g) -> Tensors { return {to(g, from)}; });
}

Tensor to(const Tensor& x, Device device, bool non_blocking) {
  if (x.device() == device) return x;
  const Tensor dense = contiguous(x.detach());
  Tensor out = empty(x.shape(), {.dtype = x.dtype(), .device = device});
  const std::size_t size = size_of(x.dtype()), bytes = static_cast<std::size_t>(x.numel()) * size;
  if (non_blocking && cuda::is_pinned(*dense.storage())) {
    cuda::copy_from_pinned(out.raw_data(), device, dense.storage(),
                           static_cast<std::size_t>(dense.offset()) * size, bytes);
  } else {
    cuda::copy_bytes(out.raw_data(), device, dense.raw_data(), x.device(), bytes);
  }
  return record("to", {x}, out,
                [from = x.device()](const Tensor& g) -> Tensors { return {to(g, from)}; });
}

Tensor empty_pinned_like(const Tensor& x) {
  const std::size_t bytes = static_cast<std::size_t>(x.numel()) * size_of(x.dtype());
  return Tensor(
      make_intrusive<TensorImpl>(cuda::pinned_storage(bytes), x.shape(), x.numel(), x.dtype()));
}

Tensor pin_memory(const Tensor& x) {
  const Tensor dense = contiguous(to(x.detach(), kCpu));
  const Tensor out = empty_pinned_like(x);
  kernel(&Kernels::copy, kCpu, "pin_memory")(dense, out);
  return out;
}

Tensor clone(const Tensor& x) {
  return record("clone", {x}, copied("clone", x, x.dtype()),
                [](const Tensor& g) -> Tensors { return {g}; });
}

Tensor as_floating(const Tensor& x) { return is_floating(x.dtype()) ? x : to(x, DType::f32); }

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }

bool is_same_view(const Tensor& a, const Tensor& b) {
  return a.storage() == b.storage() && a.offset() == b.offset() && a.dtype() == b.dtype() &&
         a.shape() == b.shape() && a.strides() == b.strides();
}

Tensor copy_(const Tensor& x, const Tensor& y) {
  check_in_place(x, y.requires_grad(), "copy_");
  common_device("copy_", {x, y});
  check(broadcast_shapes(x.shape(), y.shape(), "copy_") == x.shape(), "copy_",
        "expected a source that broadcasts to {}, got {}", x.shape(), y.shape());
  const bool overlaps = y.storage() == x.storage() && !is_same_view(x, y);
  kernel(&Kernels::copy, x.device(), "copy_")(overlaps ? clone(y.detach()) : y, x);
  x.bump_version();
  return x;
}

DTypeRange range_of(DType dtype) {
  switch (dtype) {
    case DType::boolean:
      return {0, 1};
    case DType::u8:
      return {0, 255};
    case DType::i32:
      return {-0x1p31, 0x1p31 - 1};
    case DType::i64:
      return {-0x1p63, 0x1p63 - 1024};  // the greatest double below 2^63
    default:
      fail("range_of", "expected an integer dtype, got {}", dtype);
  }
}

void check_value(std::string_view op, DType dtype, double value) {
  if (is_floating(dtype) || dtype == DType::boolean) return;  // to boolean is x != 0
  const auto [low, high] = range_of(dtype);
  const double whole = std::trunc(value);
  check(whole >= low && whole <= high, op, "expected a value of {} ({} to {}), got {}", dtype, low,
        high, value);
}

Tensor fill_(const Tensor& x, double value) {
  check_in_place(x, false, "fill_");
  check_value("fill_", x.dtype(), value);
  kernel(&Kernels::fill, x.device(), "fill_")(value, x);
  x.bump_version();
  return x;
}

Tensor zero_(const Tensor& x) { return fill_(x, 0); }

}  // namespace invar
