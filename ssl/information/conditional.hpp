#pragma once
// The second term of multi-view learning, E[log q(z|z')] in nats; f32 and f64, gradients of any
// order.
//
// For *any* density q, I(Z; Z') = H(Z) - H(Z|Z') >= H(Z) + E[log q(z|z')] (Barber and Agakov 2003),
// and I(Z; X') >= I(Z; Z'), because Z' is made from X' (and noise) alone. Three choices of q are
// met in the literature; they are different numbers and must not be mixed:
//
//                            q(z|z')               with the true H(Z), a lower bound on I(Z; Z')?
//   conditional_isotropic    N(z'; s2 I)           yes, for every s2
//   conditional_fitted       N(z'; E[(z-z')(z-z')^T])
//                                                  yes, and the best of all N(z'; C)
//   conditional_published    not a density         no: it grows without bound as noise vanishes
//
// A bound needs more than the second term: an upper bound on H(Z), such as the Gaussian's, in the
// place of H(Z) makes the sum an estimate; a covariance fitted to few samples makes it optimistic.
//
// Note [Noise is needed]: of a deterministic map the information of z and its own input is infinite
// where z is not confined to countably many values (that of two views is not), and its J Sigma J^T
// has rank at most the width of the narrowest layer, so that behind a wide expander (or with a dead
// unit) its determinant is 0. Declare an output noise N(0, beta I), and measure at the encoder's
// output; values behind an expander are those of a regularised surrogate.
#include <invar/core/tensor.hpp>

namespace invar::ssl {

/// E log N(Z; Z', s2 I) when Z ~ N(mu, Sigma) and Z' ~ N(mu', Sigma') are independent given the
/// pair of images, averaged over the n pairs:
///
///   -d/2 log(2 pi s2) - (|mu - mu'|^2 + tr Sigma + tr Sigma') / (2 s2)
///
/// mu, mu' [.., n, d]; the traces [.., n], undefined for 0 (deterministic z). Result [..].
Tensor conditional_isotropic(const Tensor& mu, const Tensor& mu_other, double s2,
                             const Tensor& trace = {}, const Tensor& trace_other = {});

/// -1/2 logdet(M + beta I) - d/2 log(2 pi e) with M = 1/n sum (z - z')(z - z')^T of samples
/// z, z' [.., n, d]: the average of log N(z; z', M + beta I) for beta = 0, and below it for
/// beta > 0 (which is what two independent output noises N(0, beta/2 I) give). beta = 0 needs n >=
/// d.
Tensor conditional_fitted(const Tensor& z, const Tensor& z_other, double beta = 0);

/// mean_i -1/2 |mu_i - mu'_i|^2 - log(|Sigma_i + beta I| |Sigma'_i + beta I|), as the objective of
/// the paper has it, up to a constant: mu [n, d], Sigma [n, d, d]. Not a bound on anything. Error
/// where a Sigma + beta I is not positive definite: there the value is infinite.
Tensor conditional_published(const Tensor& mu, const Tensor& mu_other, const Tensor& sigma,
                             const Tensor& sigma_other, double beta);

}  // namespace invar::ssl
