#pragma once
// An entropy of the embeddings as a term of a loss, by one of two estimators
// (ssl/information/entropy.hpp has their formulas and limits). What is constant in z is left out:
//
//   log_det    1/(2d) logdet(Cov(z) + beta I), nats per dimension
//   pairwise   log n - mean_i logsumexp_j(-|z_i - z_j|^2 / (c s2)), in [0, log n];  c = 2 for the
//              upper bound, 8 for the lower
//
// The weights are not published. What matters: log_det grows without bound with the scale of z, so
// that under an invariance term, a mean square, the weight sets that scale only and beta is what to
// tune. pairwise depends on D / (c s2) and saturates at a scale that s2 sets. It is
// 2 d / (c log n) unless given: that of independent coordinates of unit variance, where an
// embedding's neighbours together weigh as much as itself. With that choice both bounds are the
// same loss.
#include <invar/core/json_reader.hpp>
#include <invar/ssl/information/entropy.hpp>

namespace invar::ssl {

enum class EntropyEstimator { log_det, pairwise };

struct EntropyTerm {
  EntropyEstimator estimator;
  double weight;
  double beta = 1e-3;                          ///< of log_det
  double s2 = 0;                               ///< of pairwise; 0: 2 d / (c log n)
  PairwiseBound bound = PairwiseBound::lower;  ///< of pairwise
};

/// The mean over the views [n, d] of the term above, not weighted.
Tensor mean_entropy(const Tensors& views, const EntropyTerm& term);

/// Error naming `objective` if the weight or what the estimator uses is out of range.
void check_entropy_term(const std::string& objective, const EntropyTerm& term);

/// Reads "entropy" (the weight), and "beta" or "s2" and "bound" ("upper", "lower").
EntropyTerm read_entropy_term(JsonReader& reader, EntropyEstimator estimator, double weight);

}  // namespace invar::ssl
