// Entropy estimators against closed forms, quadrature, Monte Carlo and Wishart's distribution.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <numbers>

using namespace invar;
using namespace invar::ssl;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

constexpr TensorOptions kF64{.dtype = DType::f64};

double gaussian(std::int64_t d, double s2) {
  return static_cast<double>(d) / 2 * std::log(2 * std::numbers::pi * std::numbers::e * s2);
}

double upper(const Tensor& z, double s2) {
  return pairwise_entropy(z, s2, PairwiseBound::upper).item();
}
double lower(const Tensor& z, double s2) {
  return pairwise_entropy(z, s2, PairwiseBound::lower).item();
}

/// The entropy of the mixture of N(0, s2) and N(gap, s2) on the line, by the trapezoidal rule
/// (whose error is negligible for a smooth integrand that vanishes at both ends).
double two_components(double gap, double s2) {
  const double s = std::sqrt(s2), from = -12 * s, to = gap + 12 * s;
  constexpr int kSteps = 20000;
  double h = 0;
  for (int i = 0; i <= kSteps; ++i) {
    const double x = from + (to - from) * i / kSteps;
    const double p = (std::exp(-x * x / (2 * s2)) + std::exp(-(x - gap) * (x - gap) / (2 * s2))) /
                     (2 * std::sqrt(2 * std::numbers::pi * s2));
    if (p > 0) h -= p * std::log(p);
  }
  return h * (to - from) / kSteps;
}

}  // namespace

TEST_CASE("digamma at known points", "[unit]") {
  constexpr double kEuler = 0.57721566490153286061;
  CHECK_THAT(digamma(1), WithinRel(-kEuler, 1e-14));
  CHECK_THAT(digamma(0.5), WithinRel(-kEuler - 2 * std::log(2.0), 1e-14));
  CHECK_THAT(digamma(10), WithinRel(7129.0 / 2520 - kEuler, 1e-14));
  CHECK_THAT(digamma(1e6), WithinRel(std::log(1e6) - 0.5e-6 - 1e-12 / 12, 1e-14));
  CHECK_THROWS_WITH(digamma(0.0), ContainsSubstring("x > 0"));
}

TEST_CASE("covariance and Gaussian entropy by hand", "[unit][smoke]") {
  const Tensor z = tensor(std::vector<double>{1, 2, 3, 8, 5, 5}, {3, 2}, kF64);
  const Tensor c = covariance(z);
  CHECK_THAT(c.data<double>()[0], WithinRel(4.0, 1e-14));
  CHECK_THAT(c.data<double>()[1], WithinRel(3.0, 1e-14));
  CHECK_THAT(c.data<double>()[3], WithinRel(9.0, 1e-14));
  CHECK_THAT(gaussian_entropy(c).item(), WithinRel(gaussian(2, 1) + std::log(27.0) / 2, 1e-14));
}

TEST_CASE("LogDet is the Gaussian entropy of the regularised covariance", "[unit]") {
  manual_seed(1);
  for (const Dims& shape : {Dims{9, 4}, {4, 4}, {5, 9}, {2, 1}, {3, 6, 4}, {2, 3, 4, 7}}) {
    const Tensor z = randn(shape, kF64) * 2 + 5;
    const std::int64_t d = shape.back();
    const Tensor direct = gaussian_entropy(covariance(z) + eye(d, -1, kF64) * 0.1);
    const Tensor ours = logdet_entropy(z, {.beta = 0.1});
    REQUIRE(ours.shape() == direct.shape());
    CHECK(norm(ours - direct, std::numeric_limits<double>::infinity()).item() < 1e-10);
  }
  // Scaling by a adds d log a when beta is scaled too.
  const Tensor z = randn({20, 6}, kF64);
  CHECK_THAT(logdet_entropy(z * 3, {.beta = 0.9}).item() - logdet_entropy(z, {.beta = 0.1}).item(),
             WithinRel(6 * std::log(3.0), 1e-10));
}

TEST_CASE("LogDet in f32 near collapse", "[unit]") {
  manual_seed(2);
  // Rank 3 of 40 dimensions, far from zero mean, with n below and above d.
  for (const std::int64_t n : {24, 64}) {
    const Tensor exact =
        to(to(matmul(randn({n, 3}, kF64), randn({3, 40}, kF64)) + 3, DType::f32), DType::f64);
    const LogDetOptions options{.beta = 1e-3};
    CHECK_THAT(logdet_entropy(to(exact, DType::f32), options).item(),
               WithinAbs(logdet_entropy(exact, options).item(), 0.05));
  }
}

TEST_CASE("LogDet's sampling bias is Wishart's", "[unit]") {
  CHECK_THAT(wishart_bias(256, 128), WithinAbs(-19.9, 0.05));
  CHECK_THAT(wishart_bias(4000, 128), WithinAbs(-1.0, 0.05));
  CHECK_THAT(wishart_bias(4000, 512), WithinAbs(-17.2, 0.05));
  // 4,000 batches of 20 samples of N(0, A A^T): the mean of the corrected estimates is the truth
  // within three standard errors, and that of the others is not.
  manual_seed(3);
  constexpr std::int64_t kTrials = 4000;
  const Tensor a = randn({5, 5}, kF64);
  const Tensor z = matmul(randn({kTrials, 20, 5}, kF64), transpose(a));
  const double truth = gaussian_entropy(matmul(a, transpose(a))).item();
  const Tensor plain = logdet_entropy(z, {.beta = 0});
  const Tensor corrected = logdet_entropy(z, {.beta = 0, .correct_bias = true});
  const double error = invar::std(corrected).item() / std::sqrt(static_cast<double>(kTrials));
  CHECK(std::abs(mean(corrected).item() - truth) < 3 * error);
  CHECK(truth - mean(plain).item() > 20 * error);
}

TEST_CASE("pairwise entropy of equal and of distant means is exact", "[unit]") {
  manual_seed(4);
  const Tensor one = randn({1, 7}, kF64);
  const Tensor equal = expand(one, {12, 7});
  CHECK_THAT(upper(equal, 0.3), WithinRel(gaussian(7, 0.3), 1e-12));
  CHECK_THAT(lower(equal, 0.3), WithinRel(gaussian(7, 0.3), 1e-12));
  const Tensor far = randn({12, 7}, kF64) * 1e4;
  CHECK_THAT(upper(far, 0.3), WithinRel(gaussian(7, 0.3) + std::log(12.0), 1e-12));
  CHECK_THAT(lower(far, 0.3), WithinRel(gaussian(7, 0.3) + std::log(12.0), 1e-12));
}

TEST_CASE("pairwise entropies enclose two components' by quadrature", "[unit]") {
  for (const double gap : {0.1, 0.5, 1.0, 2.0, 4.0, 8.0}) {
    const double s2 = 0.7, exact = two_components(gap, s2);
    // The gap lies along a diagonal; the other directions add a Gaussian's entropy.
    const double step = gap / std::sqrt(3.0);
    const Tensor z = tensor(std::vector<double>{0, 0, 0, step, step, step}, {2, 3}, kF64);
    const double whole = exact + gaussian(2, s2);
    CHECK(lower(z, s2) <= whole + 1e-9);
    CHECK(upper(z, s2) >= whole - 1e-9);
    CHECK(upper(z, s2) - lower(z, s2) < 0.5);
  }
  CHECK_THAT(two_components(0, 0.7), WithinRel(gaussian(1, 0.7), 1e-9));
}

TEST_CASE("pairwise entropies enclose Monte Carlo's", "[unit]") {
  manual_seed(5);
  constexpr std::int64_t kComponents = 16, kDraws = 100000, kDim = 4;
  for (const double s2 : {0.05, 0.4, 3.0}) {
    const Tensor z = randn({kComponents, kDim}, kF64);
    const Tensor from = randint(0, kComponents, {kDraws});
    const Tensor x = index_select(z, 0, from) + randn({kDraws, kDim}, kF64) * std::sqrt(s2);
    // log p(x) = logsumexp_j log N(x; z_j, s2 I) - log n
    const Tensor distances = sum(square(x), {1}, true) - matmul(x, transpose(z)) * 2 +
                             transpose(sum(square(z), {1}, true));
    const Tensor log_p = logsumexp(distances * (-0.5 / s2), {1}) -
                         (std::log(static_cast<double>(kComponents)) +
                          kDim / 2.0 * std::log(2 * std::numbers::pi * s2));
    const double h = -mean(log_p).item();
    const double error = invar::std(log_p).item() / std::sqrt(static_cast<double>(kDraws));
    CHECK(upper(z, s2) >= h - 3 * error);
    CHECK(lower(z, s2) <= h + 3 * error);
  }
}

TEST_CASE("mixture information is the mixture's own", "[unit]") {
  manual_seed(7);
  constexpr std::int64_t kTimes = 400;  // the same components again, each with noise of its own
  const auto estimate = [](const Tensor& z, double s2) {
    const Tensor stacked = expand(z, {kTimes, z.size(0), z.size(1)});
    const Tensor all = mixture_information(stacked, s2, randn(stacked.shape(), kF64));
    REQUIRE(all.shape() == Dims{kTimes});
    return std::pair(mean(all).item(), invar::std(all).item() / std::sqrt(double{kTimes}));
  };
  for (const double gap : {0.0, 0.7, 2.0, 5.0}) {
    const auto [h, error] = estimate(reshape(tensor({0.0, gap}, kF64), {2, 1}), 0.3);
    CHECK_THAT(h, WithinAbs(two_components(gap, 0.3) - gaussian(1, 0.3), 3 * error + 1e-12));
  }
  const Tensor z = randn({30, 8}, kF64) + 100;  // where they lie does not matter
  for (const double s2 : {0.05, 1.0, 30.0}) {
    const auto [h, error] = estimate(z, s2);
    CHECK(h >= pairwise_information(z, s2, PairwiseBound::lower).item() - 3 * error);
    CHECK(h <= pairwise_information(z, s2, PairwiseBound::upper).item() + 3 * error);
    const Tensor noise = randn(z.shape(), kF64);
    CHECK_THAT(mixture_information(to(z, DType::f32), s2, to(noise, DType::f32)).item(),
               WithinAbs(mixture_information(z, s2, noise).item(), 1e-4));
    const auto f = [&](const Tensors& in) { return mixture_information(in[0], s2, noise); };
    CHECK(gradcheck(f, {z.detach().requires_grad_()}));
  }
  CHECK_THROWS_WITH(mixture_information(z, 0, z), ContainsSubstring("expected s2 > 0"));
  CHECK_THROWS_WITH(mixture_information(z, 1, reshape(z, {8, 30})),
                    ContainsSubstring("expected noise of z's shape [30, 8], got [8, 30]"));
}

TEST_CASE("pairwise information: range, batches, f32, start value", "[unit]") {
  manual_seed(6);
  const Tensor z = randn({3, 30, 8}, kF64);
  const Tensor all = pairwise_information(z, 1, PairwiseBound::upper);
  REQUIRE(all.shape() == Dims{3});
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tensor one = select(z, 0, i);
    CHECK_THAT(pairwise_information(one, 1, PairwiseBound::upper).item(),
               WithinRel(all.data<double>()[i], 1e-12));
    CHECK(all.data<double>()[i] > 0);
    CHECK(all.data<double>()[i] < std::log(30.0));
    CHECK_THAT(pairwise_information(to(one + 10, DType::f32), 1, PairwiseBound::upper).item(),
               WithinRel(all.data<double>()[i], 1e-5));
  }
  CHECK(sum(ne(diagonal(squared_distances(to(z, DType::f32)), 0, -2, -1), 0.0)).item() == 0);

  // At 512 dimensions s2 = 1 is flat; the start value is not.
  const Tensor wide = randn({64, 512}, kF64);
  const auto slope = [&](double s2) {
    const Tensor leaf = wide.detach().requires_grad_();
    pairwise_information(leaf, s2, PairwiseBound::upper).backward();
    return norm(leaf.grad()).item();
  };
  const double s2 = pairwise_s2(wide, PairwiseBound::upper);
  CHECK_THAT(s2, WithinRel(1024 / (2 * std::log(64.0)), 0.02));
  CHECK_THAT(pairwise_s2(wide, PairwiseBound::lower), WithinRel(s2 / 4, 1e-12));
  CHECK(slope(1) < 1e-30);
  CHECK(slope(s2) > 1e-3);
  // Distances 1, 4, 9 of three points on a line.
  const Tensor line = tensor(std::vector<double>{0, 1, 3}, {3, 1}, kF64);
  CHECK_THAT(pairwise_s2(line, PairwiseBound::upper), WithinRel(4 / (2 * std::log(3.0)), 1e-12));
}

TEST_CASE("entropies' gradients", "[gradcheck]") {
  manual_seed(7);
  const auto passes = [](const auto& f, const Tensors& inputs) {
    const auto first = gradcheck(f, inputs);
    INFO(first.message);
    CHECK(first.ok);
    const auto second = gradgradcheck(f, inputs);
    INFO(second.message);
    CHECK(second.ok);
  };
  for (const Dims& shape : {Dims{6, 3}, {3, 5}, {2, 4, 3}}) {
    const Tensor z = randn(shape, kF64);
    passes([](const Tensors& x) { return logdet_entropy(x[0], {.beta = 0.1}); }, {z});
    passes([](const Tensors& x) { return pairwise_entropy(x[0], 0.8, PairwiseBound::upper); }, {z});
    passes([](const Tensors& x) { return pairwise_entropy(x[0], 0.8, PairwiseBound::lower); }, {z});
  }
  passes([](const Tensors& x) { return gaussian_entropy(covariance(x[0])); },
         {randn({6, 3}, kF64)});
}

TEST_CASE("entropies refuse what they cannot measure", "[unit]") {
  const Tensor z = randn({4, 6}, kF64);
  CHECK_THROWS_WITH(logdet_entropy(z, {.beta = 0}), ContainsSubstring("expected beta > 0, got"));
  CHECK_THROWS_WITH(logdet_entropy(z, {.beta = -1}), ContainsSubstring("beta"));
  CHECK_THROWS_WITH(logdet_entropy(z, {.correct_bias = true}), ContainsSubstring("n > d"));
  CHECK_THROWS_WITH(logdet_entropy(zeros({1, 6}, kF64)), ContainsSubstring("n >= 2"));
  CHECK_THROWS_WITH(logdet_entropy(zeros({6}, kF64)), ContainsSubstring("[.., n, d]"));
  CHECK_THROWS_WITH(covariance(zeros({4, 2}, {.dtype = DType::i64})),
                    ContainsSubstring("floating"));
  CHECK_THROWS_WITH(pairwise_entropy(z, 0, PairwiseBound::upper), ContainsSubstring("s2 > 0"));
  CHECK_THROWS_WITH(pairwise_s2(zeros({4, 6}), PairwiseBound::upper), ContainsSubstring("differ"));
  CHECK_THROWS_WITH(wishart_bias(4, 4), ContainsSubstring("n > d"));
}
