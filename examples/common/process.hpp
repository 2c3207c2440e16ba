#pragma once
// process: what every program does about the process that it is.
#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace invar::app {

/// Call it first. Standard streams that are closed become /dev/null, opened for reading: a file of
/// a run might get their number, and what is printed would go into it; so it is an error. To write
/// beyond `ulimit -f` is an error as well, not a signal, so that it is told. And who reads what is
/// printed may go (`| head`): that ends no training.
void settle_process();

/// A line on the standard error output. That nobody can read it is no error.
template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  const std::string line = fmt::format(format, std::forward<Args>(args)...) + "\n";
  std::fputs(line.c_str(), stderr);
}

}  // namespace invar::app
