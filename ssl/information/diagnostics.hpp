#pragma once
// Diagnostics: numbers to log along training, by name. Each is a function of the views of one
// batch, as features or as embeddings; none enters the loss.
//
//   std                  mean over dimensions of the standard deviation; 0: collapse
//   dead                 share of dimensions with a standard deviation below 1e-4
//   rankme, participation_ratio, alpha_req, lidar          effective ranks, spectrum's decay
//   alignment, uniformity                                  of views and of pairs on the sphere
//   logdet_entropy       1/(2d) logdet(covariance + 1e-3 I): nats per dimension, 0 for covariance I
//   information_upper, information_lower                   pairwise_information with s2 = 2d/(c log
//   n) normality            mean p-value of K^2 over dimensions (n >= 8), the draws being the
//   samples
//
// all of the first view, but alignment (first two) and lidar (all). representation.hpp, entropy.hpp
// and normality.hpp have the formulas and what may be compared: the batch is a small sample (an
// effective rank is at most n), so a curve means something within a run and between runs of equal
// batch and width, and nothing else. The entropies move with the scale of z; each is also there
// with "unit_" before its name, of rows scaled to length sqrt(d).
#include <invar/core/tensor.hpp>
#include <string>
#include <vector>

namespace invar::ssl {

/// In alphabetical order.
std::vector<std::string> diagnostic_names();

/// Of views [n, d], at least two; NaN where it does not exist: collapsed views, too few samples.
/// Error for an unknown name, which names the nearest one.
double diagnostic(const std::string& name, const Tensors& views);

}  // namespace invar::ssl
