#include <cmath>
#include <invar/autodiff/functional.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/observer.hpp>
#include <invar/core/scoped_value.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/linearisation.hpp>
#include <vector>

namespace invar::ssl {
namespace {

/// [n, elements of a sample]; elements are given, because n may be 0.
Tensor rows_of(const Tensor& x) { return reshape(x, {x.size(0), x.numel() / x.size(0)}); }

Tensor outputs_of(const char* op, const SampleFunction& f, const Tensor& x) {
  check(x.dim() >= 1 && x.size(0) >= 1, op, "expected samples [n, ..] with n >= 1, got {}",
        x.shape());
  const Tensor y = f(x);
  check(y.dim() >= 1 && y.size(0) == x.size(0), op,
        "expected a function from [n, ..] to [n, ..], got {} from {}", y.shape(), x.shape());
  return y;
}

/// v_i^T J_i for every row v of `vectors` [p, k]: [n, p, D].
Tensor pulled_back(const char* op, const SampleFunction& f, const Tensor& x,
                   const std::function<Tensor(std::int64_t)>& vectors) {
  const GradMode recording(true);
  const Tensor leaf = x.detach().requires_grad_();
  const Tensor y = rows_of(outputs_of(op, f, leaf));
  const Tensor v = vectors(y.size(1));
  // Samples are independent: the gradient of sum_i v . f(x_i) has v^T J_i in row i.
  Tensors rows;
  for (std::int64_t c = 0; c < v.size(0); ++c) {
    const Tensor weights = expand(select(v, 0, c), y.shape());
    const Tensor row = y.requires_grad() ? grad({y}, {leaf}, {weights}, {.retain_graph = true},
                                                /*allow_unused=*/true)[0]
                                         : Tensor();
    rows.push_back(rows_of(row.defined() ? row : zeros_like(x.detach())));
  }
  return stack(rows, 1);
}

/// Collects patterns. While it looks at a tensor it observes nothing.
class PatternObserver final : public Observer {
 public:
  explicit PatternObserver(ActivationPattern& pattern)
      : pattern_(pattern), observing_(current_observer, this) {}

  void begins(const KernelCall& call) override {
    const bool rectifier =
        call.op == "relu" || call.op == "leaky_relu" || call.op == "batch_norm_relu";
    // The output comes last; the kernel writes it before ends().
    if (rectifier || call.op == "max_pool2d") {
      open_.push_back({*call.tensors.back(), rectifier});
    } else {
      open_.push_back({});
    }
  }
  void begins(const Node&) override { open_.push_back({}); }
  void begins(const ModuleCall&) override { open_.push_back({}); }
  void ends() override {
    const Watched watched = open_.back();
    open_.pop_back();
    if (!watched.output.defined()) return;
    const ScopedValue<Observer*> nobody(current_observer, nullptr);
    if (watched.rectifier) {
      pattern_.masks.push_back(gt(watched.output, 0.0));
    } else {
      pattern_.argmax.push_back(watched.output);
    }
  }
  std::int64_t scope() const override { return -1; }

 private:
  struct Watched {
    Tensor output;
    bool rectifier = false;
  };

  ActivationPattern& pattern_;
  const ScopedValue<Observer*> observing_;
  std::vector<Watched> open_;
};

/// How many elements of each sample differ, [n] f64, and how many there are.
struct Differences {
  Tensor count;
  std::int64_t of = 0;
};

Differences differences(const char* op, const Tensors& a, const Tensors& b, const Tensor& x) {
  const std::int64_t n = x.size(0);
  internal_check(a.size() == b.size(), op, "{} and {} activations", a.size(), b.size());
  Differences result{zeros({n}, {DType::f64, x.device()}), 0};
  for (std::size_t i = 0; i < a.size(); ++i) {
    check(a[i].size(0) == n, op, "expected activations of {} samples, got {}", n, a[i].shape());
    const Tensor differ = rows_of(ne(a[i], b[i]));
    result.count = result.count + to(sum(differ, {1}), DType::f64);
    result.of += differ.size(1);
  }
  return result;
}

void check_alike(const char* op, const Tensor& x, const Tensor& other) {
  check(x.shape() == other.shape() && x.dtype() == other.dtype(), op,
        "expected pairs of one shape and dtype, got {} {} and {} {}", x.shape(), x.dtype(),
        other.shape(), other.dtype());
}

}  // namespace

Tensor sample_jacobians(const SampleFunction& f, const Tensor& x) {
  return pulled_back("sample_jacobians", f, x,
                     [&](std::int64_t k) { return eye(k, -1, x.options()); });
}

Tensor output_covariance(const SampleFunction& f, const Tensor& x,
                         const OutputCovarianceOptions& options, Generator& generator) {
  const char* const op = "output_covariance";
  check(options.projections >= 0 && options.sigma >= 0, op,
        "expected projections >= 0 and sigma >= 0, got {} and {}", options.projections,
        options.sigma);
  Tensor j = pulled_back(op, f, x, [&](std::int64_t k) {
    if (options.projections == 0) return eye(k, -1, x.options());
    return randn({options.projections, k}, x.options(), generator) /
           std::sqrt(static_cast<double>(options.projections));
  });
  if (options.factor.defined()) {
    check(options.factor.dim() == 2 && options.factor.size(0) == j.size(2), op,
          "expected a factor [{}, r], got {}", j.size(2), options.factor.shape());
    j = matmul(j, options.factor);
  }
  return matmul(j, transpose(j)) * (options.sigma * options.sigma);
}

ActivationPattern activation_pattern(const SampleFunction& f, const Tensor& x) {
  ActivationPattern pattern;
  NoGrad guard;
  PatternObserver observer(pattern);
  outputs_of("activation_pattern", f, x);
  return pattern;
}

Tensor flip_rate(const SampleFunction& f, const Tensor& x, const Tensor& other) {
  check_alike("flip_rate", x, other);
  const auto [count, of] = differences("flip_rate", activation_pattern(f, x).masks,
                                       activation_pattern(f, other).masks, x);
  check(of > 0, "flip_rate", "expected a function with rectifiers, got none");
  return count / static_cast<double>(of);
}

Tensor same_region(const SampleFunction& f, const Tensor& x, const Tensor& other) {
  check_alike("same_region", x, other);
  const ActivationPattern a = activation_pattern(f, x), b = activation_pattern(f, other);
  const Tensor changes = differences("same_region", a.masks, b.masks, x).count +
                         differences("same_region", a.argmax, b.argmax, x).count;
  return eq(changes, 0.0);
}

Tensor linearisation_error(const SampleFunction& f, const Tensor& x, const Tensor& other) {
  check_alike("linearisation_error", x, other);
  const auto [outputs, derivatives] =
      jvp([&](const Tensors& in) { return outputs_of("linearisation_error", f, in[0]); }, {x},
          {(other - x).detach()});
  NoGrad guard;
  const Tensor change = rows_of(f(other) - outputs[0]);
  return norm(change - rows_of(derivatives[0]), 2, {1}) / norm(change, 2, {1});
}

}  // namespace invar::ssl
