#include "process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace invar::app {

void settle_process() {
  int lowest_free;
  do {
    lowest_free = ::open("/dev/null", O_RDONLY);
  } while (lowest_free >= 0 && lowest_free <= STDERR_FILENO);
  if (lowest_free > STDERR_FILENO) ::close(lowest_free);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace invar::app
