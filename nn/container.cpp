#include <invar/nn/container.hpp>

namespace invar::nn {

Module& Sequential::operator[](std::size_t i) {
  check(i < modules_.size(), "Sequential", "expected the index of one of {} modules, got {}",
        modules_.size(), i);
  return modules_[i].module();
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (AnyModule& module : modules_) y = module(y);
  return y;
}

void Sequential::members(Members& m) {
  for (std::size_t i = 0; i < modules_.size(); ++i) m(std::to_string(i), modules_[i]);
}

}  // namespace invar::nn
