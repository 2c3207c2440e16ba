#include <algorithm>
#include <cmath>
#include <invar/core/error.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <numbers>

namespace invar::nn {

WarmupCosine::WarmupCosine(const WarmupCosineOptions& options) : options_(options) {
  const WarmupCosineOptions& o = options_;
  check(o.total_steps >= 1 && o.warmup_steps >= 0, "WarmupCosine",
        "expected at least one step and no negative warm-up, got {} and {}", o.total_steps,
        o.warmup_steps);
  check(o.warmup_steps < o.total_steps, "WarmupCosine",
        "expected a warm-up shorter than the training of {} steps, got {} steps: train longer or "
        "shorten the warm-up",
        o.total_steps, o.warmup_steps);
}

double WarmupCosine::lr(std::int64_t step) const {
  const WarmupCosineOptions& o = options_;
  if (step < o.warmup_steps) {
    const std::int64_t intervals =
        std::max<std::int64_t>(o.warmup_reaches_base ? o.warmup_steps - 1 : o.warmup_steps, 1);
    return o.start_lr +
           (o.base_lr - o.start_lr) * static_cast<double>(step) / static_cast<double>(intervals);
  }
  if (step >= o.total_steps) return o.end_lr;
  const double done = static_cast<double>(step - o.warmup_steps) /
                      static_cast<double>(o.total_steps - o.warmup_steps);
  const double q = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return o.base_lr * q + o.end_lr * (1 - q);
}

}  // namespace invar::nn
