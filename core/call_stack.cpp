#include <execinfo.h>
#include <fmt/format.h>

#include <cstdlib>
#include <invar/core/call_stack.hpp>
#include <memory>

namespace invar {

CallStack CallStack::here() {
  constexpr int kDepth = 32;
  CallStack stack;
  stack.calls_.resize(kDepth);
  stack.calls_.resize(static_cast<std::size_t>(backtrace(stack.calls_.data(), kDepth)));
  return stack;
}

std::string CallStack::to_string() const {
  std::string text;
  if (calls_.empty()) return text;
  const std::unique_ptr<char*, decltype(&std::free)> symbols(
      backtrace_symbols(calls_.data(), static_cast<int>(calls_.size())), std::free);
  for (std::size_t i = 0; symbols && i < calls_.size(); ++i) {
    text += fmt::format("\n    {}", symbols.get()[i]);
  }
  return text;
}

}  // namespace invar
