#pragma once
// CallStack: where a call was made, for messages.
#include <string>
#include <vector>

namespace invar {

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
