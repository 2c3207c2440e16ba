#pragma once
// Errors. Two kinds, so that a program can tell whose fault it was:
//
//   Error          the caller asked for something impossible: a wrong shape, a missing file
//   InternalError  an invariant of this library was broken: a bug of ours, please report it
//
// Every message reads `[op] expected ..., got ...: hint`. `check` and `internal_check` throw when
// their condition is false and format their message only then.
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace invar {

/// A mistake in how the library was used.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A mistake inside the library.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws Error("[op] message").
template <class... Args>
[[noreturn]] void fail(std::string_view op, fmt::format_string<Args...> message, Args&&... args) {
  throw Error(fmt::format("[{}] {}", op, fmt::format(message, std::forward<Args>(args)...)));
}

/// Throws Error("[op] message") unless `condition` holds.
template <class... Args>
void check(bool condition, std::string_view op, fmt::format_string<Args...> message,
           Args&&... args) {
  if (!condition) [[unlikely]] {
    fail(op, message, std::forward<Args>(args)...);
  }
}

/// Throws InternalError("[where] internal error: message: please report this").
template <class... Args>
[[noreturn]] void fail_internal(std::string_view where, fmt::format_string<Args...> message,
                                Args&&... args) {
  throw InternalError(fmt::format("[{}] internal error: {}: please report this", where,
                                  fmt::format(message, std::forward<Args>(args)...)));
}

/// Throws InternalError unless `condition` holds.
template <class... Args>
void internal_check(bool condition, std::string_view where, fmt::format_string<Args...> message,
                    Args&&... args) {
  if (!condition) [[unlikely]] {
    fail_internal(where, message, std::forward<Args>(args)...);
  }
}

}  // namespace invar
