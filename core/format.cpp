// How a tensor prints: nested brackets, long dimensions shortened to their ends.
#include <algorithm>
#include <cmath>
#include <invar/core/autograd/node.hpp>
#include <invar/core/tensor.hpp>

namespace invar {
namespace {

constexpr std::int64_t kEdgeItems = 3;
constexpr std::int64_t kFullSize = 1000;  // tensors up to this many elements print whole

/// The element at an offset from the first one.
template <class To>
To value_at(const Tensor& x, std::int64_t position) {
  return visit(x.dtype(), [&]<class From>() {
    return static_cast<To>(static_cast<const From*>(x.raw_data())[position]);
  });
}

std::string text_at(const Tensor& x, std::int64_t position, bool integral) {
  if (x.dtype() == DType::boolean) return value_at<bool>(x, position) ? "true" : "false";
  if (!is_floating(x.dtype())) return fmt::format("{}", value_at<std::int64_t>(x, position));
  const auto value = value_at<double>(x, position);
  if (std::isnan(value)) return "nan";
  const double magnitude = std::abs(value);
  if (integral && magnitude < 1e8) return fmt::format("{:.0f}.", value);
  if (magnitude != 0 && std::isfinite(value) && (magnitude < 1e-3 || magnitude >= 1e5)) {
    return fmt::format("{:.4e}", value);
  }
  return fmt::format("{:.4f}", value);
}

class Printer {
 public:
  explicit Printer(const Tensor& x) : x_(x), shorten_(x.numel() > kFullSize || x.numel() == 0) {
    walk(0, 0, [&](std::int64_t at) {
      const auto v = value_at<double>(x_, at);
      integral_ &= std::isfinite(v) && v == std::floor(v);
    });
    walk(0, 0,
         [&](std::int64_t at) { width_ = std::max(width_, text_at(x_, at, integral_).size()); });
  }

  std::string body() const { return x_.dim() == 0 ? element(0) : bracket(0, 0); }

 private:
  std::string element(std::int64_t position) const {
    return fmt::format("{:>{}}", text_at(x_, position, integral_), width_);
  }

  bool is_hidden(int dim, std::int64_t i) const {
    return shorten_ && x_.size(dim) > 2 * kEdgeItems && i >= kEdgeItems &&
           i < x_.size(dim) - kEdgeItems;
  }

  template <class F>
  void walk(int dim, std::int64_t position, const F& f) const {
    if (dim == x_.dim()) return f(position);
    for (std::int64_t i = 0; i < x_.size(dim); ++i) {
      if (is_hidden(dim, i)) i = x_.size(dim) - kEdgeItems;  // the first that is not
      walk(dim + 1, position + i * x_.strides()[dim], f);
    }
  }

  std::string bracket(int dim, std::int64_t position) const {
    const bool innermost = dim == x_.dim() - 1;
    const std::string separator =
        innermost ? ", "
                  : "," + std::string(static_cast<std::size_t>(x_.dim() - dim - 1), '\n') +
                        std::string(static_cast<std::size_t>(dim + 1), ' ');
    std::string text = "[";
    for (std::int64_t i = 0; i < x_.size(dim); ++i) {
      if (is_hidden(dim, i)) {
        text += separator + "...";
        i = x_.size(dim) - kEdgeItems;
      }
      if (i > 0) text += separator;
      const std::int64_t at = position + i * x_.strides()[dim];
      text += innermost ? element(at) : bracket(dim + 1, at);
    }
    return text + "]";
  }

  const Tensor& x_;
  bool shorten_;
  bool integral_ = true;
  std::size_t width_ = 0;
};

}  // namespace

std::string to_string(const Tensor& tensor) {
  if (!tensor.defined()) return "undefined tensor";
  std::string text = tensor.device() == kCpu ? Printer(tensor).body()
                                             : fmt::format("(values on {})", tensor.device());
  text += fmt::format("  {} {}", tensor.dtype(), tensor.shape());
  if (tensor.device() != kCpu) text += fmt::format(" {}", tensor.device());
  if (const NodePtr node = tensor.grad_fn()) {
    text += fmt::format(" grad_fn={}", node->name());
  } else if (tensor.requires_grad()) {
    text += " requires_grad";
  }
  return text;
}

}  // namespace invar
