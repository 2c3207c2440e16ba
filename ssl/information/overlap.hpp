#pragma once
// Do small Gaussians around the samples overlap? The theory takes the data for a mixture of
// N(x_i, sigma^2 I) whose components hardly do. Two of them at distance D are told apart with error
// Phi(-D / (2 sigma)), half of their overlap.
//
// In many dimensions that error is small at noise that destroys the picture (the noise's length is
// sigma sqrt(D)), so distances are also given divided by the root of the dimension: per pixel.
#include <cstdint>
#include <invar/core/tensor.hpp>
#include <vector>

namespace invar::ssl {

/// Of each of the first `queries` rows of x [n, ..] (all by default), the distance to the nearest
/// other row: [queries], x's dtype. In chunks; n >= 2. Exact 0 for duplicates.
Tensor nearest_neighbour_distances(const Tensor& x, std::int64_t queries = -1);

struct OverlapRow {
  double quantile = 0;                ///< of the nearest-neighbour distances, in [0, 1]
  double distance = 0;                ///< linear between order statistics
  double distance_per_dimension = 0;  ///< divided by sqrt of the elements of a sample
  double error = 0;                   ///< Phi(-distance / (2 sigma))
  double error_per_dimension = 0;     ///< the same of distance_per_dimension
};

/// One row per quantile of `distances`, for samples of `dimensions` elements.
std::vector<OverlapRow> overlap(const Tensor& distances, std::int64_t dimensions, double sigma,
                                const std::vector<double>& quantiles = {0, .001, .01, .1, .5});

}  // namespace invar::ssl
