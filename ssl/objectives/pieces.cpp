#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/expander.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <numbers>

namespace invar::ssl {

void check_not_negative(const std::string& objective,
                        std::initializer_list<std::pair<const char*, double>> options) {
  for (const auto& [name, value] : options) {
    check(value >= 0, objective, "expected {} >= 0, got {}", name, value);
  }
}

Tensor mean_over_pairs(std::size_t views,
                       const std::function<Tensor(std::size_t a, std::size_t b)>& f) {
  Tensor total;
  for (std::size_t a = 0; a < views; ++a) {
    for (std::size_t b = a + 1; b < views; ++b) {
      total = total.defined() ? total + f(a, b) : f(a, b);
    }
  }
  const std::size_t pairs = views * (views - 1) / 2;
  return total / static_cast<double>(pairs);
}

Tensor mean_over_ordered_pairs(std::size_t views,
                               const std::function<Tensor(std::size_t a, std::size_t b)>& f) {
  return mean_over_pairs(views, [&](std::size_t a, std::size_t b) { return f(a, b) + f(b, a); }) /
         2;
}

Tensor mean_squared_distance(const Tensors& views) {
  return mean_over_pairs(
      views.size(), [&](std::size_t a, std::size_t b) { return mse_loss(views[a], views[b]); });
}

Tensor mean_cosine(const Tensor& x, const Tensor& y) {
  return mean(sum(normalize(x) * normalize(y), {1}));
}

Tensor off_diagonal_squares(const Tensor& square_matrix) {
  return sum(square(square_matrix * (1 - eye(square_matrix.size(0), -1, square_matrix.options()))));
}

nn::Sequential make_predictor(std::int64_t dim, std::int64_t hidden) {
  return make_expander(dim, {.layers = {hidden, dim}, .hidden_bias = false, .last_bias = true});
}

PredictorOptions read_predictor(JsonReader& reader, PredictorOptions o) {
  o.hidden = reader.get("hidden", o.hidden);
  o.base_decay = reader.get("base_decay", o.base_decay);
  return o;
}

PredictingObjective::PredictingObjective(std::string name, Needs needs, std::int64_t dim,
                                         PredictorOptions options)
    : Objective(std::move(name), needs), base_decay_(options.base_decay) {
  check(options.hidden >= 1, this->name(), "expected hidden of at least 1, got {}", options.hidden);
  check(base_decay_ >= 0 && base_decay_ <= 1, this->name(), "expected base_decay in [0, 1], got {}",
        base_decay_);
  predictor = make_predictor(dim, options.hidden);
}

double PredictingObjective::target_decay(double progress) const {
  return 1 - (1 - base_decay_) * (std::cos(std::numbers::pi * progress) + 1) / 2;
}

}  // namespace invar::ssl
