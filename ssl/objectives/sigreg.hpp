#pragma once
// SIGReg, the objective of LeJEPA (Balestriero and LeCun, 2025): embeddings are to be a standard
// normal cloud, tested along random directions by Epps and Pulley's statistic.
//
//   z                embeddings [n, d] of a view
//   a                `slices` random directions of length 1;  u = z a  [n, slices]
//   statistic        n * integral over [-t_max, t_max] of |1/n sum_i e^(i t u_i) - e^(-t^2/2)|^2
//                    e^(-t^2/2) dt, by the trapezoidal rule on `knots` points
//   sigreg           its mean over directions and views
//   invariance       mean over views, n and d of (z - mean over views of z)^2
//   loss             (1 - lambda) invariance + lambda sigreg
//
// slices 256, lambda .05 (the authors' smallest example has .02); knots 33, t_max 3 as in the
// authors' library, which writes 17 for the half of the points that it computes: the integrand is
// even. The paper's listing has 17 points on [-5, 5], to be had with knots 17 and t_max 5. Points
// that are a step apart cannot tell u from u + 2 pi / step: 33.5 away here, but 10.05 there, where
// a sample beyond 5 is pushed outwards, to the next image of the cloud. The directions are new in
// every step, the same for all views: from default_generator(). With local views (multi-crop), the
// authors take the mean over the global ones only.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class SigReg : public Objective {
 public:
  struct Options {
    double lambda = 0.05;
    std::int64_t slices = 256;
    std::int64_t knots = 33;  ///< odd
    double t_max = 3;
  };
  explicit SigReg(const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

 private:
  /// Terms: "invariance", "sigreg".
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;

  Options options_;
};

/// The statistic above of each column of u [n, k]: [k]. On average sqrt(2 pi) (1 - 1/sqrt 3) = 1.06
/// for standard normal samples and a large t_max (1.05 for 3), growing with n for others.
Tensor epps_pulley(const Tensor& u, std::int64_t knots, double t_max);

}  // namespace invar::ssl
