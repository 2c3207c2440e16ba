// What the theory of docs/paper.md says exactly, measured: each case is one statement.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/philox.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/modules.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/conditional.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/linearisation.hpp>
#include <invar/ssl/information/vicreg_floor.hpp>
#include <invar/ssl/objective.hpp>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

using namespace invar;
using namespace invar::ssl;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

constexpr TensorOptions kF64{.dtype = DType::f64};

double largest(const Tensor& x) { return amax(abs(x)).item(); }

Tensor identity(std::int64_t n) { return eye(n, -1, kF64); }

/// Samples [n, d] whose mean is 0 and whose second moments 1/n x^T x are the identity, exactly.
Tensor white_samples(std::int64_t n, std::int64_t d) {
  const Tensor x = randn({n, d}, kF64);
  const Tensor centred = x - mean(x, {0}, true);
  const Tensor l = cholesky(matmul(transpose(centred), centred) / static_cast<double>(n));
  return transpose(solve_triangular(l, transpose(centred), /*upper=*/false));
}

/// The gradient of f at z.
template <class F>
Tensor slope(const F& f, const Tensor& z) {
  const Tensor leaf = z.detach().requires_grad_();
  return grad({f(leaf)}, {leaf})[0];
}

}  // namespace

// --- 1.5: mutual information and its bounds ------------------------------------------------------

// Two noisy views X = T + E, X' = T + E' of a shared T, encoded as Z = W X + N: everything is
// Gaussian and every information a determinant.
TEST_CASE("linear-Gaussian channel: what is called a bound lies below", "[unit]") {
  manual_seed(1);
  constexpr std::int64_t kInput = 5, kOutput = 3, kSamples = 400;
  const double beta = 0.05;
  for (const double spread : {0.1, 0.5, 1.0}) {
    const Tensor w = randn({kOutput, kInput}, kF64), half = randn({kInput, kInput}, kF64);
    // Samples with exactly the moments of the population, so that averages are expectations.
    const Tensor draws = white_samples(kSamples, 3 * kInput + 2 * kOutput);
    const Tensor t = matmul(narrow(draws, 1, 0, kInput), transpose(half));
    const Tensor x = t + narrow(draws, 1, kInput, kInput) * spread;
    const Tensor x_other = t + narrow(draws, 1, 2 * kInput, kInput) * spread;
    const Tensor mu = matmul(x, transpose(w)), mu_other = matmul(x_other, transpose(w));
    const Tensor z = mu + narrow(draws, 1, 3 * kInput, kOutput) * std::sqrt(beta);
    const Tensor z_other =
        mu_other + narrow(draws, 1, 3 * kInput + kOutput, kOutput) * std::sqrt(beta);

    const auto moments = [&](const Tensor& a) {
      return matmul(transpose(a), a) / static_cast<double>(kSamples);
    };
    const auto entropy = [&](const Tensor& a) { return gaussian_entropy(moments(a)).item(); };
    const auto information = [&](const Tensor& a, const Tensor& b) {
      return entropy(a) + entropy(b) - entropy(cat({a, b}, 1));
    };
    // The moments are the population's: Cov(Z, X') = W S_T, Cov(Z) = W (S_T + spread^2 I) W^T +
    // beta I.
    const Tensor s_t = matmul(half, transpose(half));
    const Tensor s_x = s_t + identity(kInput) * (spread * spread);
    const Tensor s_z = matmul(matmul(w, s_x), transpose(w)) + identity(kOutput) * beta;
    REQUIRE(largest(moments(z) - s_z) < 1e-10);

    const double i_views = information(z, z_other), i_input = information(z, x_other);
    const double h = entropy(z);
    CHECK(i_views <= i_input + 1e-9);  // data processing
    const double fitted = h + conditional_fitted(z, z_other).item();
    CHECK(fitted <= i_views + 1e-9);
    // The isotropic form from the means and the noise's trace is the one from samples with noise.
    const Tensor trace = full({kSamples}, beta * kOutput, kF64);
    for (const double s2 : {0.01, 0.1, 0.5, 1.0, 3.0, 10.0}) {
      const double isotropic = conditional_isotropic(mu, mu_other, s2, trace, trace).item();
      CHECK_THAT(conditional_isotropic(z, z_other, s2).item(), WithinAbs(isotropic, 1e-8));
      CHECK(h + isotropic <= i_views + 1e-9);
      CHECK(h + isotropic <= fitted + 1e-9);  // the fitted Gaussian is the best of its kind
    }
    for (const double declared : {1e-3, 0.1, 1.0}) {
      CHECK(h + conditional_fitted(z, z_other, declared).item() <= fitted + 1e-9);
    }
    // q(z|z') = N(B z', C) with B the regression is the posterior: equality.
    const Tensor s_zz = matmul(transpose(z), z_other) / static_cast<double>(kSamples);
    const Tensor l = cholesky(moments(z_other));
    const Tensor b = transpose(solve_triangular(
        transpose(l), solve_triangular(l, transpose(s_zz), /*upper=*/false), /*upper=*/true));
    CHECK_THAT(h + conditional_fitted(z, matmul(z_other, transpose(b))).item(),
               WithinAbs(i_views, 1e-9));
  }
}

TEST_CASE("linear-Gaussian channel: the published form is no bound", "[unit]") {
  manual_seed(2);
  // As the output noise beta vanishes it grows like 2 d log(1/beta), the information like a quarter
  // of that at most (here not at all): somewhere it is above.
  const Tensor draws = white_samples(200, 9);
  const Tensor t = narrow(draws, 1, 0, 3);
  const Tensor mu = t + narrow(draws, 1, 3, 3) * 0.3, mu_other = t + narrow(draws, 1, 6, 3) * 0.3;
  const Tensor zero = zeros({200, 3, 3}, kF64);
  bool above = false;
  for (const double beta : {1.0, 1e-2, 1e-4, 1e-6}) {
    // Z = X + N(0, beta I): correlation 1 / (1.09 + beta) in each of three dimensions.
    const double rho = 1 / (1.09 + beta);
    const double information = -1.5 * std::log(1 - rho * rho);
    const double h = gaussian_entropy(identity(3) * (1.09 + beta)).item();
    above |= h + conditional_published(mu, mu_other, zero, zero, beta).item() > information;
  }
  CHECK(above);
}

TEST_CASE("linear-Gaussian channel: the information of a noiseless map is infinite", "[unit]") {
  // I(Z; X) of Z = W X + N(0, beta I) is H(Z) - H(Z|X), and N(W X, beta I) the posterior itself.
  // It gains r/2 log 10 with each decade of beta, r the rank of W; r = d but for a dead unit. What
  // two views have in common stays finite.
  manual_seed(13);
  constexpr std::int64_t kInput = 5, kOutput = 3;
  const Tensor w = randn({kOutput, kInput}, kF64), mu = zeros({1, kOutput}, kF64);
  for (const std::int64_t rank : {kOutput, kOutput - 1}) {
    const Tensor alive = to(lt(arange(0, kOutput, 1, kF64), static_cast<double>(rank)), DType::f64);
    const Tensor wide = w * unsqueeze(alive, 1), map = matmul(wide, transpose(wide));
    const auto information = [&](double beta) {
      const Tensor trace = full({1}, beta * kOutput, kF64);
      return gaussian_entropy(map + identity(kOutput) * beta).item() +
             conditional_isotropic(mu, mu, beta, trace).item();
    };
    // Two views X = T + E, X' = T + E' with T ~ N(0, .9 I) and E, E' ~ N(0, .1 I).
    const auto common = [&](double beta) {
      const Tensor own = map + identity(kOutput) * beta;
      const Tensor both = cat({cat({own, map * 0.9}, 1), cat({map * 0.9, own}, 1)}, 0);
      return 2 * gaussian_entropy(own).item() - gaussian_entropy(both).item();
    };
    INFO("rank " << rank);
    double previous = information(1e-4);
    for (const double beta : {1e-5, 1e-6, 1e-7, 1e-8, 1e-9}) {
      const double now = information(beta);
      CHECK_THAT(now - previous, WithinAbs(static_cast<double>(rank) / 2 * std::log(10.0), 1e-3));
      previous = now;
    }
    CHECK(previous > 20);
    CHECK_THAT(common(1e-9), WithinAbs(static_cast<double>(rank) / -2 * std::log(1 - 0.81), 1e-6));
  }
}

// --- 1.6: entropy and VICReg's regulariser -------------------------------------------------------

// Of all densities with one covariance the Gaussian has the most entropy, and that of a mixture is
// Cov(means) + mean Sigma.
TEST_CASE("a mixture's entropy is at most the Gaussian's of its covariance", "[unit]") {
  manual_seed(15);
  constexpr std::int64_t kComponents = 6, kDim = 3, kDraws = 100000;
  const Tensor half = randn({kComponents, kDim, kDim}, kF64);
  const Tensor each = matmul(half, transpose(half)) + identity(kDim) * 0.1;  // Sigma_i
  const Tensor centres = randn({kComponents, kDim}, kF64);
  struct Mixture {
    double spread;
    bool equal;  ///< the covariances of all components
  };
  for (const auto& [spread, equal] : {Mixture{0, true}, Mixture{0, false}, Mixture{0.5, true},
                                      Mixture{2, false}, Mixture{10, false}}) {
    INFO("spread " << spread << (equal ? ", equal covariances" : ""));
    const Tensor means = centres * spread;
    const Tensor sigma = equal ? expand(narrow(each, 0, 0, 1), each.shape()) : each;
    const Tensor l = cholesky(sigma);
    Tensors draws;
    for (std::int64_t i = 0; i < kComponents; ++i) {
      const Tensor e = randn({kDraws / kComponents, kDim}, kF64);
      draws.push_back(matmul(e, transpose(select(l, 0, i))) + select(means, 0, i));
    }
    // log p(x) = logsumexp_i log N(x; mu_i, Sigma_i) - log n, with |L_i^-1 (x - mu_i)|^2 the
    // squared distance.
    const Tensor x = cat(draws, 0);
    Tensors log_each;
    for (std::int64_t i = 0; i < kComponents; ++i) {
      const Tensor standard =
          solve_triangular(select(l, 0, i), transpose(x - select(means, 0, i)), /*upper=*/false);
      const double scale =
          kDim * std::log(2 * std::numbers::pi) + logdet(select(sigma, 0, i)).item();
      log_each.push_back((sum(square(standard), {0}) + scale) * -0.5);
    }
    const Tensor log_p =
        logsumexp(stack(log_each, 0), {0}) - std::log(static_cast<double>(kComponents));
    const double h = -mean(log_p).item();
    const double error = invar::std(log_p).item() / std::sqrt(static_cast<double>(x.size(0)));

    const Tensor between = means - mean(means, {0}, true), within = mean(sigma, {0});
    const Tensor whole =
        matmul(transpose(between), between) / static_cast<double>(kComponents) + within;
    const double bound = gaussian_entropy(whole).item();
    CAPTURE(h, error, bound);
    CHECK(h <= bound + 3 * error);
    if (spread == 0 && equal) CHECK_THAT(h, WithinAbs(bound, 3 * error));  // it is a Gaussian
    if (spread == 0 && !equal) CHECK(h < bound - 10 * error);
    // Either part alone is no bound.
    if (spread == 10) CHECK(h > gaussian_entropy(within).item() + 10 * error);
    if (spread == 0.5) CHECK(h > gaussian_entropy(covariance(means)).item() + 10 * error);
  }
}

TEST_CASE("ascent on 1/2 logdet adds 2t/(n-1) I to the covariance", "[unit]") {
  manual_seed(3);
  constexpr std::int64_t kN = 12, kD = 4;
  Tensor z = matmul(randn({kN, kD}, kF64), randn({kD, kD}, kF64));
  const Tensor start = covariance(z);
  const auto velocity = [](const Tensor& at) {
    return slope([](const Tensor& x) { return sum(logdet_entropy(x, {.beta = 0})); }, at);
  };
  // dz/dt = gradient, by the classical Runge-Kutta rule.
  const double end = 30, step = 0.1;
  for (int i = 0; i < 300; ++i) {
    const Tensor k1 = velocity(z), k2 = velocity(z + k1 * (step / 2)),
                 k3 = velocity(z + k2 * (step / 2)), k4 = velocity(z + k3 * step);
    z = z + (k1 + k2 * 2 + k3 * 2 + k4) * (step / 6);
  }
  const Tensor sigma = covariance(z);
  CHECK(largest(sigma - start - identity(kD) * (2 * end / (kN - 1))) < 1e-6);
  // The off-diagonals stay, only correlations decay, and the volume grows.
  const auto correlation = [](const Tensor& s) {
    const Tensor deviation = sqrt(diagonal(s));
    return largest(s / deviation / unsqueeze(deviation, 1) * (1 - identity(kD)));
  };
  CHECK(correlation(sigma) < correlation(start));
  CHECK(correlation(sigma) > 0.01);
  CHECK(logdet(sigma).item() > logdet(start).item());
}

TEST_CASE("ascent at unit variances ends at the identity (Hadamard)", "[unit]") {
  manual_seed(4);
  constexpr std::int64_t kN = 12, kD = 4;
  const auto rescaled = [](const Tensor& z) {
    const Tensor centred = z - mean(z, {0}, true);
    return centred / invar::std(centred, {0}, 1, true);
  };
  Tensor z = rescaled(matmul(randn({kN, kD}, kF64), randn({kD, kD}, kF64)));
  REQUIRE(largest(covariance(z) - identity(kD)) > 0.1);
  double volume = logdet(covariance(z)).item();
  for (int i = 0; i < 400; ++i) {
    z = rescaled(z + slope([](const Tensor& x) { return sum(logdet_entropy(x, {.beta = 0})); }, z));
    // |Sigma| <= product of the variances = 1, with equality for the identity alone.
    const double now = logdet(covariance(z)).item();
    CHECK(now <= 1e-12);
    CHECK(now >= volume - 1e-12);
    volume = now;
  }
  CHECK(largest(covariance(z) - identity(kD)) < 1e-6);
  // There VICReg's regulariser is 0, up to the eps inside its root.
  CHECK(off_diagonal_covariance(z).item() < 1e-11);
  CHECK(variance_hinge(z, 1, 1e-4).item() == 0);
}

TEST_CASE("VICReg's attainable floor", "[unit]") {
  // The published figures, at eps = 0.
  const VicregFloor wide = vicreg_floor(256, 2048, {.eps = 0});
  CHECK_THAT(wide.std, WithinAbs(0.763, 5e-4));
  CHECK_THAT(wide.loss, WithinAbs(10.69, 5e-3));
  CHECK_THAT(wide.std, WithinRel(std::cbrt(25 / (8 * (2048.0 / 255 - 1))), 1e-12));
  CHECK_THAT(vicreg_floor(256, 512, {.eps = 0}).loss, WithinRel(2 * (512.0 / 255 - 1), 1e-12));
  CHECK(vicreg_floor(256, 512, {.eps = 0}).std == 1);
  CHECK(vicreg_floor(256, 255).loss == 0);
  CHECK(vicreg_floor(256, 128).std == 1);
  // eps inside the root lets the loss fall a little lower.
  CHECK(vicreg_floor(256, 2048).loss < wide.loss);
  CHECK_THAT(vicreg_floor(256, 2048).loss, WithinAbs(wide.loss, 3e-3));

  // Free embeddings, equal in both views, under gradient descent with momentum: they come down to
  // the floor and not below.
  manual_seed(5);
  constexpr std::int64_t kN = 8;
  const auto come_down = [](Tensor z, const Vicreg::Options& o) {
    const auto regulariser = [&](const Tensor& x) {
      return variance_hinge(x, o.gamma, o.eps) * o.variance +
             off_diagonal_covariance(x) * (2 * o.covariance);
    };
    Tensor momentum = zeros(z.shape(), kF64);
    double least = regulariser(z).item();
    constexpr int kSteps = 1500;
    for (int i = 0; i < kSteps; ++i) {
      momentum = momentum * 0.9 + slope(regulariser, z);
      z = z - momentum * (0.05 * (1 - static_cast<double>(i) / kSteps));
      least = std::min(least, regulariser(z).item());
    }
    return least;
  };
  for (const std::int64_t d : {10, 32}) {
    const VicregFloor floor = vicreg_floor(kN, d);
    CHECK(floor.at_gamma == 0);
    const double least = come_down(randn({kN, d}, kF64), {});
    CHECK(least >= floor.loss * (1 - 1e-12));
    CHECK(least <= floor.loss * 1.01);
  }

  // Where the variance counts little, embeddings of unequal variances reach less than those of
  // equal ones can: started at orthonormal directions of std gamma, and small others in those that
  // are left or, if none is, across them all. Directions 0 to kN - 2 are orthogonal to (1, ..., 1).
  const Tensor directions = eigh(ones({kN, kN}, kF64)).vectors * std::sqrt(kN - 1.0);
  for (const auto& [d, weight] : {std::pair{8, 5.0}, {9, 5.0}, {10, 1.0}, {32, 1.0}}) {
    const Vicreg::Options even{.variance = weight, .covariance = weight};
    const VicregFloor floor = vicreg_floor(kN, d, even);
    const std::int64_t at_gamma = floor.at_gamma, left = kN - 1 - at_gamma;
    CAPTURE(d, at_gamma, floor.std);
    REQUIRE(at_gamma > 0);
    REQUIRE(left >= 0);
    const Tensor others_span =
        left > 0 ? narrow(directions, 1, at_gamma, left) : narrow(directions, 1, 0, kN - 1);
    const Tensor others =
        matmul(others_span, normalize(randn({others_span.size(1), d - at_gamma}, kF64), 0)) *
        floor.std;
    const double least = come_down(cat({narrow(directions, 1, 0, at_gamma), others}, 1), even);
    CHECK(least >= floor.loss * (1 - 1e-12));
    CHECK(least <= floor.loss * 1.01);
    const double k = static_cast<double>(d) / (kN - 1) - 1,
                 t = std::min(1.0, std::cbrt(1 / (8 * k)));
    CHECK(least < 0.97 * weight * (1 - t + 2 * k * std::pow(t, 4)));
  }
  // .79 and .45, where equal variances reach .80 and .63.
  CHECK_THAT(vicreg_floor(256, 2048, {.variance = 1, .covariance = 1, .eps = 0}).loss,
             WithinAbs(0.7918, 1e-4));
  CHECK_THAT(vicreg_floor(256, 512, {.variance = 1, .covariance = 1, .eps = 0}).loss,
             WithinAbs(0.4540, 1e-4));
  CHECK(vicreg_floor(256, 512, {.variance = 16}).at_gamma == 0);

  // One dimension for one direction, and all others dead.
  const VicregFloor pair = vicreg_floor(2, 2, {.variance = 1, .covariance = 25});
  CHECK(pair.at_gamma == 1);
  CHECK_THAT(pair.std, WithinRel(0.01, 1e-12));
  CHECK_THAT(pair.loss, WithinRel(0.99 / 2, 1e-12));
}

// Whatever the weights, random variances cost as much at least: what they cost is known (Schur and
// Horn).
TEST_CASE("No variances beat VICReg's floor", "[unit]") {
  Philox random(7, 0, 0);
  const auto uniform = [&](double low, double high) {
    return low + (high - low) * random.uniform();
  };
  double nearest = 1e9;
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t n = 2 + random.below(7), d = n + random.below(5);
    const Vicreg::Options o{.variance = std::exp(uniform(-2, 4)),
                            .covariance = std::exp(uniform(-2, 3)),
                            .gamma = uniform(0.5, 2),
                            .eps = std::exp(uniform(-9, -3))};
    const VicregFloor floor = vicreg_floor(n, d, o);
    for (int i = 0; i < 200; ++i) {
      // Of three kinds, as the floor's are of two: at gamma, at one smaller std, anywhere.
      const double most = o.gamma * o.gamma - o.eps;
      const double small = uniform(0, 1) * uniform(0, 1) * most;
      const auto at_gamma = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(d)));
      std::vector<double> x(static_cast<std::size_t>(d), small);
      std::fill_n(x.begin(), at_gamma, most);
      if (i % 2 == 0) x[static_cast<std::size_t>(at_gamma)] = uniform(small, most);
      double left = std::accumulate(x.begin(), x.end(), 0.0), squares = 0, loss = 0;
      for (std::int64_t u = 0;; ++u) {
        const double next = x[static_cast<std::size_t>(u)],
                     directions = static_cast<double>(n - 1 - u);
        if (directions * next <= left * (1 + 1e-12)) {
          if (directions > 0) squares += left * left / directions;
          break;
        }
        squares += next * next;
        left -= next;
      }
      for (const double v : x) {
        loss +=
            o.variance * std::max(0.0, o.gamma - std::sqrt(v + o.eps)) - 2 * o.covariance * v * v;
      }
      loss = (loss + 2 * o.covariance * squares) / static_cast<double>(d);
      CAPTURE(n, d, o.variance, o.covariance, o.gamma, o.eps, floor.at_gamma, floor.std, at_gamma);
      REQUIRE(loss >= floor.loss - 1e-9 * (1 + floor.loss));
      if (at_gamma == floor.at_gamma) nearest = std::min(nearest, loss / floor.loss);
    }
  }
  CHECK(nearest < 1.001);  // it was searched where the floor is
}

// --- 1.7: other methods' estimates of the entropy ------------------------------------------------

// With rows of length 1, s_ij / T = 1/T - D_ij / (2 T): the denominator's mean logarithm is that of
// the pairwise upper bound with s2 = T, but for each row's own term, which InfoNCE leaves out.
TEST_CASE("InfoNCE is a squared distance less a pairwise estimate of the entropy", "[unit]") {
  manual_seed(12);
  double error = 0;
  for (const double temperature : {0.1, 0.2, 0.5}) {
    const Tensor x = normalize(randn({40, 6}, kF64), 1);
    const Tensor y = normalize(x + randn({40, 6}, kF64) * 0.3, 1);
    const Tensor rows = cat({x, y}, 0);
    const Tensor distances = sum(square(unsqueeze(rows, 1) - unsqueeze(rows, 0)), {2});
    const Tensor sums = sum(exp(distances * (-0.5 / temperature)), {1});
    const double estimate = pairwise_information(rows, temperature, PairwiseBound::upper).item();
    const double own = mean(log(1 - 1 / sums)).item();
    const double close = mean(sum(square(x - y), {1})).item() / (2 * temperature);
    const auto simclr = make_objective({{"name", "simclr"}, {"temperature", temperature}}, 6);
    const EmbeddedBatch batch = {.embeddings = {x, y}};
    const double loss = (*simclr)(batch).loss.item();
    error = std::max(error, std::abs(loss - (close + std::log(80.0) - estimate + own)));
  }
  CAPTURE(error);
  CHECK(error < 1e-12);
}

// --- 3: piecewise affine networks ----------------------------------------------------------------

namespace {

/// 20-64-64-8 with ReLU.
nn::Sequential make_mlp(bool bias) {
  return nn::Sequential(nn::Linear(20, 64, bias), nn::ReLU(), nn::Linear(64, 64, bias), nn::ReLU(),
                        nn::Linear(64, 8, bias));
}

/// A small network of convolutions, batch-norm in eval mode with statistics that are not trivial,
/// and max-pooling, for images [4, 4, 2].
nn::Sequential make_conv_net() {
  nn::BatchNorm2d norm(3);
  norm.running_mean = nn::Buffer(randn({3}) * 0.2);
  norm.running_var = nn::Buffer(rand({3}) + 0.5);
  return nn::Sequential(nn::Conv2d(2, 3, 3, {.padding = 1}), std::move(norm), nn::ReLU(),
                        nn::MaxPool2d(2), nn::Conv2d(3, 4, 3, {.padding = 1}), nn::ReLU(),
                        nn::Flatten(), nn::Linear(16, 10));
}

SampleFunction frozen(nn::Sequential& net) {
  net.to(DType::f64);
  net.eval();
  net.requires_grad_(false);
  return [&net](const Tensor& x) { return net(x); };
}

/// Same masks imply |f(x') - f(x) - J (x' - x)| <= 1e-10 |f(x') - f(x)|, over 1,000 pairs; and
/// pairs in different regions show that this says something.
void check_same_masks_affine(const SampleFunction& f, const Dims& sample, double sigma) {
  std::int64_t same = 0, different = 0;
  Dims shape = sample;
  shape.insert(0, 500);
  while (same < 1000) {
    const Tensor x = randn(shape, kF64), other = x + randn(shape, kF64) * sigma;
    const Tensor region = same_region(f, x, other), error = linearisation_error(f, x, other);
    const Tensor inside = masked_select(error, region);
    const Tensor outside = masked_select(error, logical_not(region));
    REQUIRE(inside.numel() > 50);
    CHECK(amax(inside).item() <= 1e-10);
    if (outside.numel() > 0) CHECK(mean(outside).item() > 1e-4);
    same += inside.numel();
    different += outside.numel();
  }
  CHECK(different > 50);
}

/// At a sigma where fewer than 0.1 % of the draws change a mask, S over N draws is J Sigma J^T up
/// to its sampling error: E |S - C|_F^2 = (tr(C)^2 + |C|_F^2) / (N - 1). The ratio of the two,
/// averaged over 50 inputs, is 1 within a tenth; its own sampling error is about half of that.
void check_output_covariance(const SampleFunction& f, const Tensor& inputs, double sigma,
                             std::int64_t draws) {
  const Tensor exact = output_covariance(f, inputs, {.sigma = sigma});
  double total = 0, changed = 0;
  const std::int64_t count = inputs.size(0);
  for (std::int64_t i = 0; i < count; ++i) {
    Dims shape = inputs.shape();
    shape[0] = draws;
    const Tensor x = expand(narrow(inputs, 0, i, 1), shape), other = x + randn(shape, kF64) * sigma;
    const Tensor y = f(other);
    const Tensors at = activation_pattern(f, narrow(inputs, 0, i, 1)).masks,
                  around = activation_pattern(f, other).masks;
    Tensor flipped = zeros({draws}, {.dtype = DType::boolean});
    for (std::size_t k = 0; k < at.size(); ++k) {
      flipped = logical_or(flipped, any(flatten(ne(around[k], at[k]), 1), {1}));
    }
    changed += sum(flipped).item() / static_cast<double>(draws);

    const Tensor c = select(exact, 0, i);
    const double size = norm(c).item(), r = std::pow(trace(c).item() / size, 2);
    const double error = norm(covariance(y) - c).item() / size;
    total += error / std::sqrt((1 + r) / static_cast<double>(draws - 1));
  }
  INFO("sigma " << sigma << ", changed " << changed / static_cast<double>(count));
  CHECK(changed / static_cast<double>(count) < 1e-3);
  CHECK(total / static_cast<double>(count) > 0.9);
  CHECK(total / static_cast<double>(count) < 1.1);
}

}  // namespace

TEST_CASE("a ReLU MLP is affine where its masks are the same", "[unit]") {
  manual_seed(6);
  nn::Sequential net = make_mlp(true);
  check_same_masks_affine(frozen(net), {20}, 0.02);
}

TEST_CASE("a network of convolutions and max-pooling is affine where its pattern is the same",
          "[unit]") {
  manual_seed(7);
  nn::Sequential net = make_conv_net();
  check_same_masks_affine(frozen(net), {4, 4, 2}, 0.01);
}

TEST_CASE("without biases f(x) = J(x) x", "[unit]") {
  manual_seed(8);
  nn::Sequential net = make_mlp(false);
  const SampleFunction f = frozen(net);
  const Tensor x = randn({100, 20}, kF64), y = f(x);
  const Tensor jx = reshape(matmul(sample_jacobians(f, x), unsqueeze(x, 2)), {100, 8});
  const double error = largest(jx - y) / largest(y);
  CAPTURE(error);
  CHECK(error <= 1e-12);
}

TEST_CASE("a ReLU MLP turns N(x, s^2 I) into N(f(x), s^2 J J^T)", "[unit]") {
  manual_seed(9);
  nn::Sequential net = make_mlp(true);
  check_output_covariance(frozen(net), randn({50, 20}, kF64), 1e-5, 20000);
}

TEST_CASE("so does a network of convolutions", "[unit]") {
  manual_seed(10);
  nn::Sequential net = make_conv_net();
  check_output_covariance(frozen(net), randn({50, 4, 4, 2}, kF64), 1e-5, 20000);
}
