#include <invar/ops/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>

namespace invar {

Tensor mse_loss(const Tensor& input, const Tensor& expected, LossReduction reduction) {
  const Tensor x = autocast("mse_loss", input), target = autocast("mse_loss", expected);
  check(x.shape() == target.shape(), "mse_loss",
        "expected a target of shape {}, got {}: broadcasting it is seldom meant; expand() it if so",
        x.shape(), target.shape());
  Tensor loss = square(x - target);
  switch (reduction) {
    case LossReduction::none:
      return loss;
    case LossReduction::mean:
      return mean(loss);
    case LossReduction::sum:
      return sum(loss);
  }
  fail_internal("mse_loss", "unknown reduction");
}

Tensor cross_entropy(const Tensor& input, const Tensor& target,
                     const CrossEntropyOptions& options) {
  constexpr const char* kOp = "cross_entropy";
  const Tensor logits = autocast(kOp, input);
  check(logits.dim() >= 1 && is_floating(logits.dtype()), kOp,
        "expected floating logits [..., classes], got {} {}", logits.dtype(), logits.shape());
  Dims rows = logits.shape();
  rows.erase(rows.size() - 1);
  const std::int64_t classes = logits.size(-1);
  check(target.dtype() == DType::i64 && target.shape() == rows, kOp,
        "expected a target of class indices, i64 {} for logits {}, got {} {}", rows, logits.shape(),
        target.dtype(), target.shape());
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, kOp,
        "expected label_smoothing in [0, 1], got {}", options.label_smoothing);
  const Tensor weight = options.weight.defined() ? options.weight : ones({1}, logits.options());
  check(!options.weight.defined() || weight.shape() == Dims{classes}, kOp,
        "expected one weight for each of {} classes, got shape {}", classes, weight.shape());
  check(weight.dtype() == logits.dtype(), kOp, "expected weights of dtype {} as the logits, got {}",
        logits.dtype(), weight.dtype());
  const Tensor counts = ne(target, static_cast<double>(options.ignore_index));
  const Tensor known = logical_and(ge(target, 0), lt(target, static_cast<double>(classes)));
  if (!all(logical_or(known, logical_not(counts))).item<bool>()) {
    fail(kOp, "expected targets in [0, {}) or {} (ignored), got targets from {} to {}", classes,
         options.ignore_index, amin(target).item<std::int64_t>(),
         amax(target).item<std::int64_t>());
  }

  // where, not a product with 0: the logit of a class that is ruled out may be -inf.
  const Tensor is_target = logical_and(
      eq(unsqueeze(target, -1), arange(0, static_cast<double>(classes), 1,
                                       {.dtype = DType::i64, .device = target.device()})),
      unsqueeze(counts, -1));
  const Tensor log_p = log_softmax(logits, -1);
  const double smoothing = options.label_smoothing;
  Tensor loss = sum(where(is_target, log_p, 0) * weight, {-1}) * (smoothing - 1);
  if (smoothing > 0) {
    const Tensor spread = sum(log_p * weight, {-1}) * (-smoothing / static_cast<double>(classes));
    loss = loss + where(counts, spread, 0);
  }
  switch (options.reduction) {
    case LossReduction::none:
      return loss;
    case LossReduction::sum:
      return sum(loss);
    case LossReduction::mean:
      return sum(loss) / sum(where(is_target, weight, 0));
  }
  fail_internal("cross_entropy", "unknown reduction");
}

}  // namespace invar
