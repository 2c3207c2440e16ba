#pragma once
// What VICReg's loss can reach: the number to log beside it.
//
// The covariance C of n samples has rank n - 1 at most. With variances s^2 in all d dimensions its
// eigenvalues sum to d s^2, so their squares to (d s^2)^2 / (n-1) at least, and
//
//   c(z) = 1/d (|C|_F^2 - sum_j C_jj^2) >= K s^4,   K = d/(n-1) - 1,
//
// where K <= 0 (n > d) stands for 0: then variance and covariance terms can both vanish. For K > 0
// they compete. With views that agree (invariance 0), std = sqrt(s^2 + eps) and the official
// weights the best loss is that of
//
//   min over std of  25 (1 - std) + 2 K (std^2 - eps)^2
//
// with std* = min(1, (25 / (8 K))^(1/3)) at eps = 0.
//
// Equal variances are the best ones where the variance term counts enough: with a = its weight
// (of both views) and b = that of the covariance, the loss is at least
//
//   mean over j of [a (gamma - sqrt x_j) - 2 b x_j^2] + 2 b V^2 / ((n-1) d),   V = sum_j x_j,
//
// x_j the variances, none above gamma^2 (shrinking one that is costs nothing). The bracket is
// convex in x_j if a >= 16 b gamma^3, and then x_j = V/d is the least.
//
// Below that it is convex only up to some variance and concave from there on: at the best
// variances some dimensions have std gamma, all others one smaller std, and one at most lies
// between. What variances x_1 >= x_2 >= ... cost is known: the least |C|_F^2 that they leave
// possible is that of eigenvalues as equal as may be (Schur and Horn),
//
//   x_1^2 + ... + x_u^2 + (x_{u+1} + ... + x_d)^2 / (n-1-u),
//
// u being the first number with (n-1-u) x_{u+1} <= x_{u+1} + ... + x_d: the u largest ones stand
// alone, uncorrelated with all others. The least loss of all numbers `at_gamma` and all smaller std
// is given. The one that might lie between is left out: none in 564 random cases (n below 10, d
// below 14) lowered the loss, nor did free embeddings fall below it.
//
// Losses at different d/n therefore cannot be compared: at n 256 and d 2048 std* is 0.763 and the
// loss never falls below 10.69; at n 256 and d 512 it is 2.02.
#include <cstdint>
#include <invar/ssl/objectives/vicreg.hpp>

namespace invar::ssl {

struct VicregFloor {
  double std;             ///< std*, at most gamma, of the others
  std::int64_t at_gamma;  ///< dimensions with std gamma
  double loss;            ///< of two or more views
};

/// For batches of n samples (the global batch) and embeddings of d dimensions, n >= 2, d >= 1.
VicregFloor vicreg_floor(std::int64_t n, std::int64_t d, const Vicreg::Options& options = {});

}  // namespace invar::ssl
