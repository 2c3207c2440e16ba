#pragma once
// Diagnostics: numbers to log along training, by name; none enters the loss.
//
// Of the views of some images, as features or as embeddings (diagnostic):
//
//   std                  mean over dimensions of the standard deviation; 0: collapse
//   dead                 share of dimensions with a standard deviation below 1e-4
//   rankme, participation_ratio, lidar                   effective ranks
//   alpha_req            decay of the spectrum over all eigenvalues above 1e-12 of the largest; the
//                        authors leave the first ones and the far tail out
//   alignment, uniformity                                of views and of pairs on the sphere
//   logdet_entropy       1/(2d) logdet(covariance + 1e-3 I): nats per dimension, 0 for covariance I
//   corrected_logdet_entropy   the same of the covariance alone, less the bias of n samples (n > d)
//   information          pairwise_information at c s2 = 2d/log n, where both bounds are one number
//   information_upper, information_lower                 the two bounds at s2 = d/(2 log n)
//   overlap              Phi(-D / 2 sigma), D the median distance to the nearest other sample,
//                        sigma .1
//   conditional_isotropic, conditional_fitted            of conditional.hpp divided by d, for
//                        s2 = 1 and for beta = 1e-3
//   normality            mean p-value of K^2 over dimensions (n >= 8), the draws being the samples
//
// all of the first view, but alignment and conditional_* (first two) and lidar (all: its authors
// have some fifty views of a sample, and of two it is a rougher estimate). Entropies, informations
// and overlap move with the scale of z; each is also there with "unit_" before its name, of rows
// scaled to length sqrt(d). Lists (diagnostic_list):
//
//   spectrum             eigenvalues of the covariance, descending, the first 64
//   std_per_dimension
//
// Of a network around fixed images, with noise N(0, sigma^2 I) on the input (local_diagnostic):
//
//   flip_rate            share of rectifiers that the noise flips
//   linearisation_error  |f(x') - f(x) - J (x' - x)| / |f(x') - f(x)|
//   same_region          share of images that the noise leaves in their affine region
//   noise_normality      mean p-value of K^2 over dimensions and 8 images, 256 noisy copies of each
//   noise_variance       tr(J Sigma J^T)/d, by 8 random projections
//   conditional_published          mean over 8 images, divided by d, for beta = 1e-3
//   gaussian_entropy     1/(2d) logdet(covariance of f + mean J Sigma J^T of 8 images + 1e-3 I),
//                        the covariance that of `outputs` where there are some
//
// The last two make exact J Sigma J^T: d backward passes. Of a network on labelled images, the
// generalisation bound's terms (bound_diagnostics).
//
// representation.hpp, entropy.hpp, conditional.hpp, normality.hpp, linearisation.hpp and
// generalisation.hpp have the formulas and what may be compared: a batch is a small sample (an
// effective rank is at most n), so a curve means something within a run and between runs of equal
// number of samples and width, and nothing else.
#include <invar/core/tensor.hpp>
#include <invar/ssl/information/linearisation.hpp>
#include <string>
#include <vector>

namespace invar::ssl {

/// In alphabetical order.
std::vector<std::string> diagnostic_names();

/// Of views [n, d], at least two; NaN where it does not exist: collapsed views, too few samples.
/// Error for an unknown name, which names the nearest one.
double diagnostic(const std::string& name, const Tensors& views);

std::vector<std::string> diagnostic_list_names();

/// The same for lists: one NaN where it does not exist.
std::vector<double> diagnostic_list(const std::string& name, const Tensors& views);

/// What local diagnostics look at.
struct Surroundings {
  SampleFunction f;    ///< in eval mode: [n, ..] -> [n, d]
  Tensor x;            ///< images, f32, where f is computed
  Tensor other;        ///< another view of each, of whatever size; conditional_published needs it
  double sigma = 0.1;  ///< of the noise
  /// f of more images than x, [m, d], where few are looked at closely; undefined: f(x)
  Tensor outputs = {};
};

std::vector<std::string> local_diagnostic_names();

/// Likewise; the noise is the same in every call.
double local_diagnostic(const std::string& name, const Surroundings& at);

/// "bound_invariance", "bound_scaled_invariance", "bound_unlabelled", "bound_labelled" of
/// bound_terms: of features z [n, d] and two views of the same images with classes `labels` [n].
std::vector<std::pair<std::string, double>> bound_diagnostics(const Tensor& z, const Tensors& views,
                                                              const Tensor& labels);

}  // namespace invar::ssl
