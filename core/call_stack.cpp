#include <cxxabi.h>
#include <execinfo.h>
#include <fmt/format.h>

#include <cstdlib>
#include <invar/core/call_stack.hpp>
#include <memory>
#include <string_view>

namespace invar {

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> written(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? written.get() : name;
}

namespace {

/// "program(_ZN5invar3expERKNS_6TensorE+0x1f) [0x5559]" with the function as it is written.
std::string readable(std::string_view symbol) {
  const std::size_t begin = symbol.find('(') + 1, end = symbol.find('+', begin);
  if (begin == 0 || end == std::string_view::npos) return std::string(symbol);
  const std::string name(symbol.substr(begin, end - begin));
  return fmt::format("{}{}{}", symbol.substr(0, begin), demangled(name), symbol.substr(end));
}

}  // namespace

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
    text += fmt::format("\n    {}", readable(symbols.get()[i]));
  }
  return text;
}

}  // namespace invar
