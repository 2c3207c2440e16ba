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
// convex in x_j if a >= 16 b gamma^3, and then x_j = V/d is the least. Below that it pays to let
// `alone` dimensions have std gamma, uncorrelated with all others, and to let the others, small,
// share what directions are left: K is (d - alone) / (n - 1 - alone) - 1 for them. The least of
// these losses is given then, which no embeddings are known to fall below.
//
// Losses at different d/n therefore cannot be compared: at n 256 and d 2048 std* is 0.763 and the
// loss never falls below 10.69; at n 256 and d 512 it is 2.02.
#include <cstdint>
#include <invar/ssl/objectives/vicreg.hpp>

namespace invar::ssl {

struct VicregFloor {
  double std;          ///< std*, at most gamma, of the dimensions that do not stand alone
  std::int64_t alone;  ///< dimensions with std gamma, uncorrelated with all others
  double loss;         ///< of two or more views
};

/// For batches of n samples (the global batch) and embeddings of d dimensions, n >= 2, d >= 1.
VicregFloor vicreg_floor(std::int64_t n, std::int64_t d, const Vicreg::Options& options = {});

}  // namespace invar::ssl
