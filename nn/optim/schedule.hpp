#pragma once
// Learning-rate schedules: the rate as a function of the step, counted from 0. They hold no state,
// so resuming at step k needs nothing but k.
#include <cstdint>

namespace invar::nn {

class Schedule {
 public:
  virtual ~Schedule() = default;
  virtual double lr(std::int64_t step) const = 0;
};

class ConstantSchedule : public Schedule {
 public:
  explicit ConstantSchedule(double lr) : lr_(lr) {}
  double lr(std::int64_t) const override { return lr_; }

 private:
  double lr_;
};

struct WarmupCosineOptions {
  double base_lr = 0;
  std::int64_t total_steps = 0;
  std::int64_t warmup_steps = 0;  ///< fewer than total_steps
  double start_lr = 0;            ///< at step 0, if there is a warm-up
  double end_lr = 0;              ///< at total_steps, the first step that is not run any more
  /// True: the last step of the warm-up has base_lr, unless it is the only one. False: the one
  /// after it.
  bool warmup_reaches_base = false;
};

/// With w = warmup_steps, T = total_steps:
///
///   t < w   start + (base - start) t / w         (t / (w - 1) if warmup_reaches_base)
///   t < T   end + (base - end) (1 + cos(pi (t - w) / (T - w))) / 2
///   else    end
///
/// VICReg's authors: start 0, end 0.001 base. solo-learn: start 3e-5, end 0, warmup_reaches_base.
class WarmupCosine : public Schedule {
 public:
  /// Error unless 0 <= warmup_steps < total_steps.
  explicit WarmupCosine(const WarmupCosineOptions& options);
  double lr(std::int64_t step) const override;

 private:
  WarmupCosineOptions options_;
};

}  // namespace invar::nn
