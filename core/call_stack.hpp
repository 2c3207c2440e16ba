#pragma once
// CallStack: where a call was made, for messages. Functions of a program have names in it if the
// program exports them (-rdynamic, ENABLE_EXPORTS in CMake), else addresses.
#include <string>
#include <vector>

namespace invar {

/// A compiler's name of a function or type as it is written in C++; what is none stays as it is.
std::string demangled(const std::string& name);

class CallStack {
 public:
  /// Nowhere.
  CallStack() = default;
  /// Of the caller: its innermost 32 calls.
  static CallStack here();

  /// A line for each call, each after a line break; empty for nowhere.
  std::string to_string() const;

 private:
  std::vector<void*> calls_;
};

}  // namespace invar
