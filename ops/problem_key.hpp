#pragma once
// The key of the caches of oneDNN's primitives and cuDNN's and cuBLASLt's plans.
#include <cstdint>
#include <initializer_list>
#include <invar/core/shape.hpp>
#include <string_view>
#include <vector>

namespace invar {

/// What a library's primitive or plan was made for: all that its making depends on, as numbers
/// (shapes, strides, dtypes, flags), in an order of the operation's own.
struct ProblemKey {
  std::string_view op;  ///< a literal
  std::vector<std::int64_t> numbers;

  ProblemKey(const char* op, std::initializer_list<std::int64_t> numbers)
      : op(op), numbers(numbers) {}
  ProblemKey& add(std::int64_t number) { return numbers.push_back(number), *this; }
  ProblemKey& add(const Dims& dims) {
    numbers.push_back(dims.size());
    numbers.insert(numbers.end(), dims.begin(), dims.end());
    return *this;
  }
  auto operator<=>(const ProblemKey&) const = default;
};

}  // namespace invar
