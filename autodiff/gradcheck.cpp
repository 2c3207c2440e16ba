#include <algorithm>
#include <cmath>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/random.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>

namespace invar {
namespace {

constexpr int kDirections = 3;    // random directions per input in the large form
constexpr int kElements = 8;      // random elements per input in the large form
constexpr int kShownEntries = 5;  // of those that differ
/// Inputs times outputs of the largest Jacobian that is checked entry by entry.
constexpr std::int64_t kLargestJacobian = 4096;
/// Slopes on both sides of a smooth point differ by h |y''|, 1e-5 or so.
constexpr double kKink = 1e-3;

using Values = std::vector<double>;

bool is_checked(const Tensor& x) { return x.defined() && x.dtype() == DType::f64; }

Values values_of(const Tensor& x) {
  const Tensor dense = to(contiguous(x.detach()), kCpu);
  const double* const begin = dense.data<double>();
  return Values(begin, begin + dense.numel());
}

/// "[1, 2]": where a row-major position lies.
std::string place(std::int64_t position, const Dims& shape) {
  Dims index = shape;
  for (int d = shape.size() - 1; d >= 0; --d) {
    index[d] = position % shape[d];
    position /= shape[d];
  }
  return to_string(index);
}

std::string describe(const Tensor& x) { return fmt::format("{} {}", x.dtype(), x.shape()); }

/// Analytic and numeric value of one entry, and where it lies.
struct Entry {
  std::string where;
  double analytic;
  double numeric;
  double tolerance;

  double excess() const {
    const double difference = std::abs(analytic - numeric);
    return std::isfinite(difference) ? difference / tolerance : HUGE_VAL;
  }
};

/// Compares entries and remembers those that differ.
class Report {
 public:
  explicit Report(const GradcheckOptions& options) : options_(options) {}

  /// `right` and `left` are the slopes on both sides, `terms` how many entries were summed and
  /// `norm` the root of the sum of their squares. `where` is called only for the report.
  template <class Where>
  void compare(double analytic, double right, double left, std::int64_t terms, double norm,
               const Where& where) {
    ++compared_;
    const double numeric = (right + left) / 2;
    const double largest = std::max({1.0, std::abs(right), std::abs(left)});
    if (options_.skip_kinks && std::abs(right - left) > kKink * largest) {
      ++skipped_;
      return;
    }
    const double tolerance =
        options_.atol * std::sqrt(static_cast<double>(std::max<std::int64_t>(terms, 1))) +
        options_.rtol * std::max({std::abs(analytic), std::abs(numeric), norm});
    // An infinite entry makes the tolerance infinite, too.
    if (std::isfinite(tolerance) && std::abs(analytic - numeric) <= tolerance) return;
    ++wrong_;
    worst_.push_back({where(), analytic, numeric, tolerance});
    std::stable_sort(worst_.begin(), worst_.end(),
                     [](const Entry& a, const Entry& b) { return a.excess() > b.excess(); });
    if (worst_.size() > kShownEntries) worst_.pop_back();
  }

  GradcheckResult result() const {
    if (wrong_ > 0) {
      std::string text = fmt::format("gradcheck: {} of {} entries differ{}", wrong_, compared_,
                                     wrong_ > kShownEntries ? "; the worst:" : ":");
      for (const Entry& e : worst_) {
        text += fmt::format(
            "\n  {}: analytic {:.9g}, numeric {:.9g}, difference {:.3g}, tolerance {:.3g}", e.where,
            e.analytic, e.numeric, std::abs(e.analytic - e.numeric), e.tolerance);
      }
      return {false, text};
    }
    if (2 * skipped_ > compared_) {
      return {false, fmt::format("gradcheck: {} of {} entries lie at a kink: nothing was checked "
                                 "there; use other inputs",
                                 skipped_, compared_)};
    }
    return {};
  }

 private:
  const GradcheckOptions& options_;
  std::int64_t compared_ = 0, skipped_ = 0, wrong_ = 0;
  std::vector<Entry> worst_;
};

class Checker {
 public:
  Checker(const TensorsFunction& f, const Tensors& inputs, const GradcheckOptions& options)
      : f_(f), options_(options), report_(options), generator_(options.seed) {
    for (const Tensor& x : inputs) {
      if (is_checked(x)) {
        checked_.push_back(static_cast<int>(leaves_.size()));
        leaves_.push_back(x.detach().requires_grad_());
        host_.push_back(to(clone(x.detach()), kCpu));
      } else {
        leaves_.push_back(x);
        host_.push_back(x);
      }
    }
    check(!checked_.empty(), "gradcheck", "expected at least one f64 input, got {} of other dtypes",
          inputs.size());
  }

  GradcheckResult run() {
    outputs_ = f_(leaves_);
    std::int64_t rows = 0, columns = 0;
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      const Tensor& y = outputs_[k];
      check(y.defined() && (is_checked(y) || !is_floating(y.dtype())), "gradcheck",
            "expected outputs of dtype f64 (or not floating), got {} for output {}",
            y.defined() ? describe(y) : "an undefined tensor", k);
      if (is_checked(y)) rows += y.numel();
    }
    for (int i : checked_) columns += leaves_[i].numel();
    base_ = evaluate();
    if (GradcheckResult same = compare_values(); !same) return same;
    if (rows * columns <= kLargestJacobian) {
      check_entries();
    } else {
      check_projection(rows);
    }
    return report_.result();
  }

 private:
  /// f at the dense copies; empty for an output that is not checked. The values are copied out at
  /// once: an output may share its bytes with an input.
  std::vector<Values> evaluate() const {
    NoGrad guard;
    Tensors inputs = host_;
    for (int i : checked_) inputs[i] = to(host_[i], leaves_[i].device());
    std::vector<Values> values;
    for (const Tensor& y : f_(inputs)) values.push_back(is_checked(y) ? values_of(y) : Values());
    return values;
  }

  /// f at the dense copies, input `i` moved by h along `direction`.
  template <class Direction>
  std::vector<Values> evaluate_moved(int i, double h, const Direction& direction) {
    const Tensor& x = host_[i];
    const Values original = values_of(x);
    direction(x.data<double>(), h);
    std::vector<Values> values = evaluate();
    std::copy(original.begin(), original.end(), x.data<double>());
    return values;
  }

  GradcheckResult compare_values() const {
    internal_check(base_.size() == outputs_.size(), "gradcheck", "{} outputs, then {}",
                   outputs_.size(), base_.size());
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      if (!is_checked(outputs_[k])) continue;
      const Values values = values_of(outputs_[k]);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double a = values[i], b = base_[k][i];
        if (a == b || (std::isnan(a) && std::isnan(b))) continue;
        const double tolerance = 1e-11 * std::max(1.0, std::abs(b));
        if (std::isfinite(tolerance) && std::abs(a - b) <= tolerance) continue;
        return {false,
                fmt::format("gradcheck: output {} ({}) element {} is {:.17g} for the inputs given "
                            "and {:.17g} for dense copies of them: f reads strided inputs wrongly, "
                            "or depends on more than its inputs",
                            k, describe(outputs_[k]),
                            place(static_cast<std::int64_t>(i), outputs_[k].shape()), a, b)};
      }
    }
    return {};
  }

  /// d(sum_k v_k . y_k) / d(every checked input).
  std::vector<Values> pullback(const Tensors& roots, const Tensors& v) const {
    std::vector<Values> result;
    Tensors inputs;
    for (int i : checked_) inputs.push_back(leaves_[i]);
    Tensors gradients(inputs.size());
    if (!roots.empty()) {
      gradients = grad(roots, inputs, v, {.retain_graph = true}, /*allow_unused=*/true);
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      result.push_back(gradients[i].defined()
                           ? values_of(gradients[i])
                           : Values(static_cast<std::size_t>(inputs[i].numel()), 0.0));
    }
    return result;
  }

  void check_entries() {
    // jacobian[i][k]: rows of output k, one after another, for the i-th checked input.
    std::vector<std::vector<Values>> jacobian(checked_.size(),
                                              std::vector<Values>(outputs_.size()));
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      const Tensor& y = outputs_[k];
      if (!is_checked(y)) continue;
      for (std::int64_t row = 0; row < y.numel(); ++row) {
        Values one(static_cast<std::size_t>(y.numel()), 0.0);
        one[static_cast<std::size_t>(row)] = 1;
        const Tensor v = to(tensor(one, y.shape(), {.dtype = DType::f64}), y.device());
        const auto rows = y.requires_grad() ? pullback({y}, {v}) : pullback({}, {});
        for (std::size_t i = 0; i < rows.size(); ++i) {
          jacobian[i][k].insert(jacobian[i][k].end(), rows[i].begin(), rows[i].end());
        }
      }
    }
    for (std::size_t c = 0; c < checked_.size(); ++c) {
      const int i = checked_[c];
      const std::int64_t n = host_[i].numel();
      for (std::int64_t j = 0; j < n; ++j) {
        const double h = step_at(i, j);
        const auto move = [j](double* x, double by) { x[j] += by; };
        const auto above = evaluate_moved(i, h, move), below = evaluate_moved(i, -h, move);
        for (std::size_t k = 0; k < outputs_.size(); ++k) {
          for (std::size_t row = 0; row < base_[k].size(); ++row) {
            report_.compare(
                jacobian[c][k][row * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)],
                (above[k][row] - base_[k][row]) / h, (base_[k][row] - below[k][row]) / h, 1, 0,
                [&] {
                  return fmt::format("d output {} ({}) element {} / d input {} ({}) element {}", k,
                                     describe(outputs_[k]),
                                     place(static_cast<std::int64_t>(row), outputs_[k].shape()), i,
                                     describe(host_[i]), place(j, host_[i].shape()));
                });
          }
        }
      }
    }
  }

  void check_projection(std::int64_t rows) {
    std::vector<Values> signs;
    Tensors roots, v;
    for (const Tensor& y : outputs_) {
      signs.push_back(is_checked(y) ? random_signs(y.numel()) : Values());
      if (!is_checked(y) || !y.requires_grad()) continue;
      roots.push_back(y);
      v.push_back(to(tensor(signs.back(), y.shape(), {.dtype = DType::f64}), y.device()));
    }
    const std::vector<Values> gradient = pullback(roots, v);
    const auto slope = [&](const std::vector<Values>& to, const std::vector<Values>& from,
                           double h) {
      double total = 0;
      for (std::size_t k = 0; k < to.size(); ++k) {
        for (std::size_t r = 0; r < to[k].size(); ++r) {
          total += signs[k][r] * (to[k][r] - from[k][r]);
        }
      }
      return total / h;
    };
    for (std::size_t c = 0; c < checked_.size(); ++c) {
      const int i = checked_[c];
      const std::int64_t n = host_[i].numel();
      if (n == 0) continue;
      const Values& g = gradient[c];
      for (int trial = 0; trial < kDirections; ++trial) {
        const Values u = random_signs(n);
        double along = 0, squares = 0;
        for (std::size_t j = 0; j < g.size(); ++j) {
          along += g[j] * u[j];
          squares += g[j] * g[j];
        }
        const auto move = [&u](double* x, double by) {
          for (std::size_t j = 0; j < u.size(); ++j) x[j] += by * u[j];
        };
        const double h = options_.step;
        report_.compare(along, slope(evaluate_moved(i, h, move), base_, h),
                        slope(base_, evaluate_moved(i, -h, move), h), rows * n, std::sqrt(squares),
                        [&] {
                          return fmt::format("v . y along random direction {} of input {} ({})",
                                             trial, i, describe(host_[i]));
                        });
      }
      for (int trial = 0; trial < kElements; ++trial) {
        const std::int64_t j = random_element(n);
        const auto move = [j](double* x, double by) { x[j] += by; };
        const double h = step_at(i, j);
        report_.compare(g[static_cast<std::size_t>(j)], slope(evaluate_moved(i, h, move), base_, h),
                        slope(base_, evaluate_moved(i, -h, move), h), rows, 0, [&] {
                          return fmt::format("d(v . y) / d input {} ({}) element {}", i,
                                             describe(host_[i]), place(j, host_[i].shape()));
                        });
      }
    }
  }

  double step_at(int input, std::int64_t j) const {
    return options_.step * std::max(1.0, std::abs(host_[input].data<double>()[j]));
  }

  Values random_signs(std::int64_t n) {
    const GeneratorState at = generator_.reserve(static_cast<std::uint64_t>(n));
    Values signs(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < signs.size(); ++i) {
      signs[i] = random_bernoulli(at.seed, at.offset, i, 0.5) ? 1 : -1;
    }
    return signs;
  }

  std::int64_t random_element(std::int64_t n) {
    const GeneratorState at = generator_.reserve(1, 8);
    return random_integer(at.seed, at.offset, 0, 0, n);
  }

  const TensorsFunction& f_;
  const GradcheckOptions& options_;
  Report report_;
  Generator generator_;
  std::vector<int> checked_;  ///< which inputs are differentiated
  Tensors leaves_;            ///< the inputs as given, requiring grad
  Tensors host_;              ///< dense copies of them in main memory, moved to and fro
  Tensors outputs_;           ///< f(leaves_)
  std::vector<Values> base_;  ///< f(host_)
};

}  // namespace

GradcheckResult gradcheck(const TensorsFunction& f, const Tensors& inputs,
                          const GradcheckOptions& options) {
  GradMode recording(true);
  return Checker(f, inputs, options).run();
}

GradcheckResult gradgradcheck(const TensorsFunction& f, const Tensors& inputs,
                              const GradcheckOptions& options) {
  GradMode recording(true);
  Tensors all = inputs;
  Generator generator(options.seed);
  std::vector<std::size_t> checked_outputs;
  {
    NoGrad guard;
    const Tensors outputs = f(inputs);
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      if (!is_checked(outputs[k])) continue;
      checked_outputs.push_back(k);
      all.push_back(randn(outputs[k].shape(), outputs[k].options(), generator));
    }
  }
  const std::size_t n = inputs.size();
  const TensorsFunction first_order = [&f, n, &checked_outputs](const Tensors& x_and_v) -> Tensors {
    GradMode on(true);
    Tensors x(x_and_v.begin(), x_and_v.begin() + static_cast<std::ptrdiff_t>(n)), wanted;
    for (Tensor& input : x) {
      if (!is_checked(input)) continue;
      if (!input.requires_grad()) input = input.detach().requires_grad_();
      wanted.push_back(input);
    }
    const Tensors y = f(x);
    Tensors roots, v;
    for (std::size_t k = 0; k < checked_outputs.size(); ++k) {
      if (!y[checked_outputs[k]].requires_grad()) continue;
      roots.push_back(y[checked_outputs[k]]);
      v.push_back(x_and_v[n + k]);
    }
    Tensors gradients(wanted.size());
    if (!roots.empty()) gradients = grad(roots, wanted, v, {.create_graph = true}, true);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = zeros_like(wanted[i]);
    }
    return gradients;
  };
  GradcheckResult result = gradcheck(first_order, all, options);
  if (!result) {
    result.message =
        fmt::format(
            "second order of a function of {} inputs (here: output i = gradient of the "
            "i-th f64 input; inputs from {} on: v)\n",
            n, n) +
        result.message;
  }
  return result;
}

}  // namespace invar
