#include <cmath>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/objectives/entropy_term.hpp>
#include <invar/ssl/objectives/pieces.hpp>

namespace invar::ssl {

Tensor mean_entropy(const Tensors& views, const EntropyTerm& term) {
  const Tensor z = stack(views);
  const double n = static_cast<double>(z.size(1)), d = static_cast<double>(z.size(2));
  if (term.estimator == EntropyEstimator::log_det) {
    // Without the constant, so that 0 is the value of embeddings with covariance I.
    return mean(logdet_entropy(z, {.beta = term.beta})) / d - kLog2PiE / 2;
  }
  const double c = pairwise_constant(term.bound);
  const double s2 = term.s2 > 0 ? term.s2 : 2 * d / (c * std::log(n));
  return mean(pairwise_information(z, s2, term.bound));
}

void check_entropy_term(const std::string& objective, const EntropyTerm& term) {
  check_not_negative(objective, {{"entropy", term.weight}});
  if (term.estimator == EntropyEstimator::log_det) {
    check(
        term.beta > 0, objective,
        "expected beta > 0, got {}: without it the determinant is 0 where there are fewer samples "
        "than dimensions",
        term.beta);
  } else {
    check(term.s2 >= 0, objective, "expected s2 >= 0, got {}", term.s2);
  }
}

EntropyTerm read_entropy_term(JsonReader& reader, EntropyEstimator estimator, double weight) {
  EntropyTerm term{.estimator = estimator, .weight = reader.get("entropy", weight)};
  if (estimator == EntropyEstimator::log_det) {
    term.beta = reader.get("beta", term.beta);
    return term;
  }
  term.s2 = reader.get("s2", term.s2);
  const auto bound = reader.get<std::string>("bound", "lower");
  check(bound == "upper" || bound == "lower", reader.where(),
        "expected bound \"upper\" or \"lower\", got \"{}\"", bound);
  term.bound = bound == "upper" ? PairwiseBound::upper : PairwiseBound::lower;
  return term;
}

}  // namespace invar::ssl
