// Diagnostics against SciPy's and NumPy's numbers (make_information_golden.py) and closed forms.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fstream>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/nn/container.hpp>
#include <invar/nn/resnet.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/conditional.hpp>
#include <invar/ssl/information/generalisation.hpp>
#include <invar/ssl/information/linearisation.hpp>
#include <invar/ssl/information/normality.hpp>
#include <invar/ssl/information/overlap.hpp>
#include <invar/ssl/information/representation.hpp>
#include <invar/ssl/information/vicreg_floor.hpp>
#include <nlohmann/json.hpp>

using namespace invar;
using namespace invar::ssl;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

constexpr TensorOptions kF64{.dtype = DType::f64};

/// The samples that make_information_golden.py describes, one column per j.
Tensor uniform_columns(std::int64_t n, std::int64_t columns) {
  Tensor x = empty({n, columns}, kF64);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::int64_t v = (i + 1) * (i + 1) * 2654435761 + (j + 3) * (i + 7) * 40503 * 65537;
      x.data<double>()[i * columns + j] = static_cast<double>((v >> 20) % (1 << 20)) / (1 << 20);
    }
  }
  return x;
}

Tensor units(std::int64_t n) {
  const Tensor u = uniform_columns(n, 6);
  const auto x = [&](std::int64_t j) { return select(u, 1, j); };
  const Tensor ten = x(4) * 10 - 5;
  return stack(
      {x(0), square(x(1)), x(0) + x(1) + x(2), x(3) + 1000, ten * ten * ten, full({n}, 3, kF64)},
      1);
}

const Json& golden() {
  static const Json all = [] {
    std::ifstream file("tests/ssl/information_golden.json");
    return Json::parse(file);
  }();
  return all;
}

double element(const Tensor& x, std::int64_t i) { return x.data<double>()[i]; }

double largest(const Tensor& x) { return amax(abs(x)).item(); }

}  // namespace

// --- normality ---------------------------------------------------------------------------------

TEST_CASE("D'Agostino-Pearson's K^2 is SciPy's", "[unit][smoke]") {
  for (const Json& record : golden()["normality"]) {
    const auto n = record["n"].get<std::int64_t>();
    const NormalTest test = normal_test(units(n));
    REQUIRE(test.p_value.shape() == Dims{6});
    for (std::int64_t j = 0; j < 5; ++j) {
      INFO("n " << n << ", unit " << j);
      const auto at = static_cast<std::size_t>(j);
      // Unit 3 lies a thousand times its spread from 0: ten digits are left of its moments.
      const double tolerance = j == 3 ? 1e-7 : 1e-11;
      CHECK_THAT(element(test.skewness, j), WithinAbs(record["skewness"][at], tolerance));
      CHECK_THAT(element(test.kurtosis, j), WithinAbs(record["kurtosis"][at], tolerance));
      CHECK_THAT(element(test.statistic, j), WithinRel(record["statistic"][at], tolerance * 10));
      CHECK_THAT(element(test.p_value, j), WithinRel(record["p_value"][at], tolerance * 1e3));
    }
    CHECK(std::isnan(element(test.p_value, 5)));
    const NormalityReport report = summarise(test);
    CHECK(report.units == 5);
    CHECK(report.dropped == 1);
  }
}

TEST_CASE("D'Agostino-Pearson's K^2 is SciPy's where the skewness is exactly 0", "[unit]") {
  // scipy.stats.normaltest(np.arange(-10, 11)) of 1.17.1, and of np.arange(20) / 2.
  struct Symmetric {
    Tensor draws;
    double statistic, p_value;
  };
  for (const auto& [draws, statistic, p_value] :
       {Symmetric{arange(-10, 11, 1, kF64), 4.219480774008785, 0.12126944547103569},
        Symmetric{arange(0, 10, 0.5, kF64), 3.992116190175702, 0.13586981489872588}}) {
    // Beside it a unit that is not symmetric, which the exception must leave alone.
    const NormalTest test = normal_test(stack({draws, square(draws)}, 1));
    REQUIRE(element(test.skewness, 0) == 0);
    CHECK_THAT(element(test.statistic, 0), WithinRel(statistic, 1e-12));
    CHECK_THAT(element(test.p_value, 0), WithinRel(p_value, 1e-12));
    CHECK_THAT(element(test.statistic, 1),
               WithinRel(element(normal_test(square(draws)).statistic, 0), 1e-12));
  }
}

TEST_CASE("normality of normal and of nearly normal units", "[unit]") {
  // The figures of Note [What a p-value says], at 512 draws of 4,000 units.
  manual_seed(1);
  const Tensor z = randn({512, 50, 80}, kF64);
  const NormalTest exact = normal_test(z);
  REQUIRE(exact.p_value.shape() == Dims{50, 80});
  const NormalityReport normal = summarise(exact);
  CHECK(normal.units == 4000);
  CHECK_THAT(normal.mean_p, WithinAbs(0.504, 0.0137));  // three standard errors each
  CHECK_THAT(normal.rejected, WithinAbs(0.0128, 0.0053));
  CHECK(normal.median_abs_skewness < 0.1);
  CHECK(normal.median_abs_kurtosis < 0.2);
  // A small departure, with more and with fewer draws. SciPy's mean p of 1,625,000, 406,224 and
  // 121,086 units is .40649 +- .00023, .19784 +- .00037 and .01120 +- .00012. Here one unit's p
  // deviates by .296, .237 and .042, so that these means have standard errors of .0017, .0019 and
  // .00033; they are held to three of them.
  const auto bent_p = [](std::int64_t draws, std::int64_t units) {
    constexpr std::int64_t kAtOnce = 2000;
    double total = 0;
    for (std::int64_t done = 0; done < units; done += kAtOnce) {
      const Tensor more = randn({draws, kAtOnce}, kF64);
      const NormalTest test = normal_test(more + (square(more) - 1) * (0.05 / std::sqrt(2.0)));
      total += summarise(test).mean_p * kAtOnce;
    }
    return total / static_cast<double>(units);
  };
  CHECK_THAT(bent_p(128, 32000), WithinAbs(0.4065, 0.005));
  CHECK_THAT(bent_p(512, 16000), WithinAbs(0.1978, 0.0056));
  CHECK_THAT(bent_p(2048, 16000), WithinAbs(0.0112, 0.001));
  // f32 draws are tested in f64.
  const NormalityReport single = summarise(normal_test(to(z, DType::f32)));
  CHECK_THAT(single.mean_p, WithinAbs(normal.mean_p, 1e-5));
}

TEST_CASE("outputs of a linear map of normal noise have a mean p of .50", "[unit]") {
  // The experiment's control, in f32 as there: a linear network around images. With 20,000 units
  // the mean p of 512 draws has a standard error of .289 / sqrt(20,000) = .002 around .504, and the
  // size of the noise says nothing.
  manual_seed(21);
  constexpr std::int64_t kImages = 50, kPixels = 512, kUnits = 400, kDraws = 512;
  const Tensor weight = randn({kPixels, kUnits});
  double total = 0, furthest = 0;
  for (std::int64_t i = 0; i < kImages; ++i) {
    const Tensor image = rand({1, kPixels}) * 4 - 2, noise = randn({kDraws, kPixels});
    const auto mean_p = [&](double sigma) {
      return summarise(normal_test(matmul(image + noise * sigma, weight))).mean_p;
    };
    const double p = mean_p(0.1);
    total += p / kImages;
    if (i % 10 > 0) continue;
    for (const double sigma : {0.01, 0.8}) {
      furthest = std::max(furthest, std::abs(mean_p(sigma) - p));
    }
  }
  CHECK_THAT(total, WithinAbs(0.5, 0.01));
  CHECK(furthest < 1e-3);
}

TEST_CASE("normality refuses what it cannot test", "[unit]") {
  CHECK_THROWS_WITH(normal_test(zeros({7, 3})), ContainsSubstring("at least 8 draws"));
  CHECK_THROWS_WITH(normal_test(zeros({9}, {.dtype = DType::i64})), ContainsSubstring("floating"));
  CHECK_THROWS_WITH(summarise(normal_test(ones({9, 3}))), ContainsSubstring("unit with variance"));
}

// --- representation ----------------------------------------------------------------------------

TEST_CASE("spectra, effective ranks, alignment and uniformity are NumPy's", "[unit]") {
  for (const Json& record : golden()["representation"]) {
    const auto n = record["n"].get<std::int64_t>(), d = record["d"].get<std::int64_t>();
    const Tensor z = uniform_columns(n, d) * arange(1, static_cast<double>(d + 1), 1, kF64);
    const Tensor other = flip(z, {0});
    const Tensor spectrum = covariance_spectrum(z);
    REQUIRE(spectrum.shape() == Dims{d});
    const auto& expected = record["spectrum"];
    for (std::int64_t k = 0; k < d; ++k) {
      const double value = k < static_cast<std::int64_t>(expected.size())
                               ? double(expected[static_cast<std::size_t>(k)])
                               : 0;
      CHECK_THAT(element(spectrum, k), WithinAbs(value, 1e-11 * element(spectrum, 0)));
    }
    CHECK_THAT(rankme(z), WithinRel(record["rankme"], 1e-9));
    CHECK_THAT(participation_ratio(z), WithinRel(record["participation_ratio"], 1e-9));
    CHECK_THAT(alpha_req(z, 2, std::min(n - 1, d) - 1).alpha, WithinRel(record["alpha"], 1e-9));
    const Tensor views = stack({z, other, square(z) / static_cast<double>(d)}, 1);
    CHECK_THAT(lidar(views), WithinRel(record["lidar"], 1e-6));
    CHECK_THAT(alignment(z, other).item(), WithinRel(record["alignment"], 1e-10));
    CHECK_THAT(uniformity(z).item(), WithinRel(record["uniformity"], 1e-10));
  }
}

TEST_CASE("effective ranks of known spectra", "[unit]") {
  // Orthogonal columns of equal length: every direction counts the same.
  const Tensor h =
      tensor(std::vector<double>{1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, 1}, {4, 3}, kF64);
  CHECK_THAT(rankme(h), WithinRel(3.0, 1e-5));
  CHECK_THAT(participation_ratio(h), WithinRel(3.0, 1e-12));
  CHECK_THAT(rankme(ones({5, 4}, kF64)), WithinRel(1.0, 1e-5));
  CHECK(rankme(zeros({5, 4})) == 1);
  // l_k = k^-1.5
  manual_seed(2);
  const Tensor x = randn({40, 12}, kF64);
  const Tensor centred = x - mean(x, {0}, true);
  const Tensor white = solve_triangular(cholesky(matmul(transpose(centred), centred)),
                                        transpose(centred), /*upper=*/false);
  const Tensor k = arange(1, 13, 1, kF64);
  const Tensor z = transpose(white) * pow(k, -0.75);
  CHECK_THAT(alpha_req(z).alpha, WithinRel(1.5, 1e-9));
  CHECK_THAT(alpha_req(z, 3, 9).r_squared, WithinRel(1.0, 1e-9));
  CHECK(largest(dimension_std(z) - pow(k, -0.75) / std::sqrt(39.0)) < 1e-12);
  // Views that agree: what is between samples counts, rank 3.
  const Tensor flat = matmul(randn({50, 3}, kF64), randn({3, 8}, kF64));
  const double rank = lidar(stack({flat, flat}, 1));
  CHECK(rank > 1);
  CHECK(rank < 3.001);
  CHECK_THROWS_WITH(alpha_req(z, 5, 20), ContainsSubstring("positive eigenvalues"));
  CHECK_THROWS_WITH(lidar(flat), ContainsSubstring("[n, views, d]"));
  CHECK_THROWS_WITH(participation_ratio(ones({3, 2})), ContainsSubstring("differ"));
}

TEST_CASE("alignment and uniformity have gradients", "[gradcheck]") {
  manual_seed(3);
  const Tensors z{randn({5, 3}, kF64), randn({5, 3}, kF64)};
  const auto aligned = gradcheck([](const Tensors& x) { return alignment(x[0], x[1]); }, z);
  INFO(aligned.message);
  CHECK(aligned.ok);
  for (const double power : {0.5, 1.0, 3.0}) {
    const auto powered =
        gradcheck([&](const Tensors& x) { return alignment(x[0], x[1], power); }, z);
    INFO(powered.message);
    CHECK(powered.ok);
    // The second pair coincides.
    const Tensor other = cat({narrow(z[1], 0, 0, 1), narrow(z[0], 0, 1, 1), narrow(z[1], 0, 2, 3)});
    const Tensor x = clone(z[0]).requires_grad_();
    const Tensor gradient = grad({alignment(x, other, power)}, {x})[0];
    CHECK(amax(abs(select(gradient, 0, 1))).item() == 0);
    CHECK(amin(sum(abs(narrow(gradient, 0, 2, 3)), {1})).item() > 0);
  }
  const auto uniform = gradcheck([](const Tensors& x) { return uniformity(x[0]); }, {z[0]});
  INFO(uniform.message);
  CHECK(uniform.ok);
}

// --- overlap -----------------------------------------------------------------------------------

TEST_CASE("nearest neighbours and their overlap", "[unit]") {
  const Tensor line = tensor(std::vector<double>{0, 1, 3, 7, 7, 20}, {6, 1}, kF64);
  const Tensor distances = nearest_neighbour_distances(line);
  const double expected[] = {1, 1, 2, 0, 0, 13};
  for (std::int64_t i = 0; i < 6; ++i) CHECK(element(distances, i) == expected[i]);
  CHECK(nearest_neighbour_distances(line, 3).shape() == Dims{3});

  const auto rows = overlap(distances, 4, 0.5, {0, 0.5, 0.9, 1});
  CHECK(rows[0].distance == 0);
  CHECK_THAT(rows[0].error, WithinRel(0.5, 1e-12));
  CHECK_THAT(rows[1].distance, WithinRel(1.0, 1e-12));
  CHECK_THAT(rows[1].distance_per_dimension, WithinRel(0.5, 1e-12));
  CHECK_THAT(rows[1].error, WithinRel(0.15865525393145707, 1e-12));  // Phi(-1)
  CHECK_THAT(rows[2].distance, WithinRel(7.5, 1e-12));               // half way from 2 to 13
  CHECK(rows[3].distance == 13);

  // More rows than a chunk, f32, far from 0: the brute force over differences.
  manual_seed(4);
  const Tensor x = to(randn({700, 2, 3}, kF64) + 30, DType::f32);
  const Tensor flat = to(reshape(x, {700, 6}), DType::f64);
  const Tensor all =
      norm(unsqueeze(flat, 1) - unsqueeze(flat, 0), 2, {2}) + eye(700, -1, kF64) * 1e9;
  CHECK(largest(to(nearest_neighbour_distances(x), DType::f64) - amin(all, {1})) < 1e-4);
  CHECK_THROWS_WITH(nearest_neighbour_distances(zeros({1, 3})), ContainsSubstring("n >= 2"));
  CHECK_THROWS_WITH(overlap(distances, 4, 0), ContainsSubstring("sigma > 0"));
}

// --- linearisation -----------------------------------------------------------------------------

TEST_CASE("J Sigma J^T of an affine map, exact and projected", "[unit]") {
  manual_seed(5);
  const Tensor a = randn({5, 6}, kF64), x = randn({7, 2, 3}, kF64);
  const auto f = [&](const Tensor& in) {
    return matmul(reshape(in, {in.size(0), 6}), transpose(a)) + 1;
  };
  const Tensor jacobians = sample_jacobians(f, x);
  REQUIRE(jacobians.shape() == Dims{7, 5, 6});
  CHECK(largest(jacobians - a) < 1e-14);
  const Tensor product = matmul(a, transpose(a)) * 0.09;
  CHECK(largest(output_covariance(f, x, {.sigma = 0.3}) - product) < 1e-13);
  const Tensor factor = randn({6, 2}, kF64), half = matmul(a, factor);
  CHECK(largest(output_covariance(f, x, {.factor = factor}) - matmul(half, transpose(half))) <
        1e-12);
  // The trace through projections: right on average. Its relative deviation is about sqrt(2/p).
  const Tensor projected = output_covariance(f, x, {.sigma = 0.3, .projections = 400});
  REQUIRE(projected.shape() == Dims{7, 400, 400});
  CHECK_THAT(trace(select(projected, 0, 0)).item(), WithinRel(trace(product).item(), 0.25));
  // A constant function, and no history left behind.
  const auto constant = [&](const Tensor& in) { return zeros({in.size(0), 3}, kF64); };
  CHECK(largest(sample_jacobians(constant, x)) == 0);
  CHECK_FALSE(jacobians.requires_grad());
  CHECK_THROWS_WITH(sample_jacobians([](const Tensor& in) { return sum(in); }, x),
                    ContainsSubstring("[n, ..]"));
}

TEST_CASE("activation patterns of a ResNet, fused layers included", "[unit]") {
  manual_seed(6);
  nn::ResNet net = nn::resnet18({.in_channels = 1, .width = 4, .stem = nn::Stem::imagenet});
  net.eval();
  const auto f = [&](const Tensor& in) { return net(in); };
  const Tensor x = randn({3, 32, 32, 1});
  const ActivationPattern pattern = activation_pattern(f, x);
  CHECK(pattern.masks.size() == 17);  // the stem's and two in each of eight blocks
  CHECK(pattern.argmax.size() == 1);
  CHECK(pattern.masks[0].shape() == Dims{3, 16, 16, 4});
  CHECK(current_observer == nullptr);
  CHECK(sum(flip_rate(f, x, x)).item() == 0);
  CHECK(all(same_region(f, x, x)).item<bool>());
  const Tensor noise = randn({3, 32, 32, 1});
  const Tensor small = flip_rate(f, x, x + noise * 0.001), large = flip_rate(f, x, x + noise);
  CHECK(all(lt(small, large)).item<bool>());
  CHECK(amax(small).item() < 0.02);
  CHECK(largest(linearisation_error(f, x, x + noise * 1e-3)) < 0.2);
  CHECK(amin(linearisation_error(f, x, x + noise)).item() > 0.05);
  for (const Tensor& p : net.parameters()) CHECK_FALSE(p.grad().defined());

  // relu by hand: one of three units of the first sample flips, none of the second.
  const auto rectify = [](const Tensor& in) { return relu(in) * 2; };
  const Tensor a = tensor(std::vector<double>{1, -1, 2, 1, -1, 2}, {2, 3}, kF64);
  const Tensor b = tensor(std::vector<double>{1, 1, 2, 3, -2, 1}, {2, 3}, kF64);
  CHECK_THAT(element(flip_rate(rectify, a, b), 0), WithinRel(1.0 / 3, 1e-12));
  CHECK(element(flip_rate(rectify, a, b), 1) == 0);
  CHECK(element(linearisation_error(rectify, a, b), 0) == 1);
  CHECK(element(linearisation_error(rectify, a, b), 1) == 0);
  CHECK_THROWS_WITH(flip_rate([](const Tensor& in) { return in * 2; }, a, b),
                    ContainsSubstring("rectifiers"));
}

// --- the bound's terms -------------------------------------------------------------------------

TEST_CASE("the least squares readout and the bound's terms", "[unit]") {
  manual_seed(7);
  // n > d: the residual is orthogonal to the features.
  const Tensor z = randn({30, 5}, kF64), y = randn({30, 3}, kF64);
  const Readout tall = least_squares_readout(z, y);
  CHECK(tall.rank == 5);
  const Tensor rest = y - matmul(z, tall.weight);
  CHECK(largest(matmul(transpose(z), rest)) < 1e-11);
  CHECK_THAT(tall.residual, WithinRel(norm(rest).item() / std::sqrt(30.0), 1e-12));
  // n < d: the targets are met, by a weight in the span of the features.
  const Tensor few = narrow(z, 0, 0, 3);
  const Readout wide = least_squares_readout(few, narrow(y, 0, 0, 3));
  CHECK(wide.rank == 3);
  CHECK(wide.residual < 1e-12);
  const Tensor in_span =
      matmul(transpose(few), least_squares_readout(transpose(few), wide.weight).weight);
  CHECK(largest(in_span - wide.weight) < 1e-10);
  // A repeated and a dead feature change nothing but the weights.
  const Tensor deficient = cat({z, narrow(z, 1, 0, 1), zeros({30, 1}, kF64)}, 1);
  const Readout repeated = least_squares_readout(deficient, y);
  CHECK(repeated.rank == 5);
  CHECK_THAT(repeated.residual, WithinRel(tall.residual, 1e-9));
  CHECK(largest(narrow(repeated.weight, 0, 0, 1) - narrow(repeated.weight, 0, 5, 1)) < 1e-9);

  const Tensor view = randn({40, 5}, kF64), other = view + 0.1, hidden = randn({40, 3}, kF64);
  const BoundTerms terms = bound_terms(z, y, view, other, hidden);
  CHECK_THAT(terms.invariance, WithinRel(0.1 * std::sqrt(5.0), 1e-10));
  CHECK(terms.labelled == tall.residual);
  CHECK_THAT(terms.unlabelled, WithinRel(2 * least_squares_readout(view, hidden).residual, 1e-12));
  CHECK(terms.vacuous());
  CHECK(std::isnan(bound_terms(z, y, view, other).unlabelled));
  // Features on another scale: the scaled terms and the risk stay.
  const BoundTerms scaled = bound_terms(z * 7, y, view * 7, other * 7, hidden);
  CHECK_THAT(scaled.sum(), WithinRel(terms.sum(), 1e-9));
  CHECK_THAT(scaled.invariance, WithinRel(7 * terms.invariance, 1e-9));
  CHECK_THAT(readout_risk(scaled.readout, view * 7, hidden),
             WithinRel(readout_risk(terms.readout, view, hidden), 1e-9));
  // Predicting 0 has risk 1 on one-hot targets.
  const Tensor classes = to(one_hot(randint(0, 3, {30}), 3), DType::f64);
  const Readout zero = least_squares_readout(zeros({30, 5}, kF64), classes);
  CHECK(zero.rank == 0);
  CHECK_THAT(readout_risk(zero, z, classes), WithinRel(1.0, 1e-12));
  CHECK_THAT(zero.residual, WithinRel(1.0, 1e-12));
  CHECK_THROWS_WITH(least_squares_readout(z, narrow(y, 0, 0, 3)), ContainsSubstring("[n, c]"));
  CHECK_THROWS_WITH(bound_terms(z, y, few, view), ContainsSubstring("two views [m, 5]"));
}

TEST_CASE("risk peaks where there are as many labels as features", "[unit]") {
  // The labelled term is 0 there: without Q the inequality breaks.
  manual_seed(17);
  constexpr std::int64_t kFeatures = 30, kMost = 300;
  const Tensor w = randn({kFeatures, 2}, kF64);
  const auto draw = [&](std::int64_t n) {
    const Tensor z = randn({n, kFeatures}, kF64);
    return std::pair{z, matmul(z, w) + randn({n, 2}, kF64)};
  };
  const auto [test_z, test_y] = draw(500);
  const auto risk = [&](std::int64_t n) {
    double total = 0;
    for (int trial = 0; trial < 20; ++trial) {
      const auto [z, y] = draw(n);
      total += readout_risk(least_squares_readout(z, y), test_z, test_y) / 20;
    }
    return total;
  };
  const double few = risk(10), peak = risk(kFeatures), many = risk(kMost);
  CHECK(peak > 2 * few);
  CHECK(peak > 5 * many);
  const auto [z, y] = draw(kFeatures);
  const BoundTerms terms = bound_terms(z, y, test_z, test_z, test_y);
  CHECK(terms.labelled < 1e-9);
  CHECK(readout_risk(terms.readout, test_z, test_y) > terms.sum());
}

// --- conditional terms -------------------------------------------------------------------------

TEST_CASE("the conditional terms by hand", "[unit]") {
  const Tensor mu = tensor(std::vector<double>{0, 0, 1, 2}, {2, 2}, kF64);
  const Tensor other = tensor(std::vector<double>{1, 0, 1, 0}, {2, 2}, kF64);
  const double log_2pi = std::log(2 * 3.14159265358979323846);
  // |mu - mu'|^2 = 1 and 4, traces 1 and 3 of the first kind, none of the second.
  CHECK_THAT(conditional_isotropic(mu, other, 2, tensor({1, 3}, kF64)).item(),
             WithinRel(-(log_2pi + std::log(2.0)) - 4.5 / 4, 1e-12));
  // M = 1/2 diag(1, 4)
  CHECK_THAT(conditional_fitted(mu, other).item(), WithinRel(-log_2pi - 1, 1e-12));
  CHECK_THAT(conditional_fitted(mu, other, 0.5).item(),
             WithinRel(-log_2pi - 1 - std::log(2.5) / 2, 1e-12));
  const Tensor sigma = expand(eye(2, -1, kF64), {2, 2, 2});
  CHECK_THAT(conditional_published(mu, other, sigma, sigma * 3, 1).item(),
             WithinRel(-1.25 - std::log(4.0) - std::log(16.0), 1e-12));
  // n < d: the small Gram matrix.
  manual_seed(8);
  const Tensor z = randn({3, 7}, kF64), z2 = randn({3, 7}, kF64), x = z - z2;
  const Tensor m = matmul(transpose(x), x) / 3.0 + eye(7, -1, kF64) * 0.2;
  CHECK_THAT(conditional_fitted(z, z2, 0.2).item(),
             WithinRel(-logdet(m).item() / 2 - 3.5 * (log_2pi + 1), 1e-10));
  CHECK_THROWS_WITH(conditional_fitted(z, z2), ContainsSubstring("beta > 0"));
  CHECK_THROWS_WITH(conditional_fitted(z, mu), ContainsSubstring("one shape"));
  CHECK_THROWS_WITH(conditional_isotropic(z, z2, 0), ContainsSubstring("s2 > 0"));
  CHECK_THROWS_WITH(conditional_isotropic(z, z2, 1, zeros({2}, kF64)),
                    ContainsSubstring("traces [3]"));
  CHECK_THROWS_WITH(conditional_published(mu, other, sigma, zeros({2, 2}, kF64), 1),
                    ContainsSubstring("[n, d, d]"));
}

TEST_CASE("behind an expander, or with a dead unit, J Sigma J^T is singular", "[unit]") {
  // An encoder of 4 numbers behind an expander of 12 and 10, and one with an output that never
  // moves.
  manual_seed(18);
  const Tensor encoder = randn({9, 4}, kF64), hidden = randn({4, 12}, kF64);
  const Tensor last = randn({12, 10}, kF64);
  const auto expander = [&](const Tensor& x) {
    return matmul(relu(matmul(relu(matmul(x, encoder)), hidden)), last);
  };
  const auto dead = [&](const Tensor& x) {
    return matmul(x, encoder) * tensor({1, 1, 0, 1}, kF64);
  };
  const Tensor x = randn({40, 9}, kF64);
  struct Singular {
    SampleFunction f;
    std::int64_t width;
  };
  for (const auto& [f, width] : {Singular{expander, 4}, Singular{dead, 3}}) {
    const Tensor c = output_covariance(f, x), values = eigvalsh(c), mu = f(x);
    INFO("rank at most " << width << " of " << mu.size(1));
    // Every eigenvalue beyond the width is 0, and the next is not for every sample.
    const std::int64_t beyond = mu.size(1) - width;
    CHECK(largest(narrow(values, 1, 0, beyond)) < 1e-13 * largest(values));
    CHECK(amax(select(values, 1, beyond)).item() > 1e-2);
    // The published form is infinite there: it is refused.
    CHECK_THROWS_WITH(conditional_published(mu, mu, c, c, 0), ContainsSubstring("not positive"));
    CHECK_THROWS_WITH(conditional_published(mu, mu, c * 0, c * 0, 0),
                      ContainsSubstring("not positive"));
    // With a declared output noise it is finite, and grows without limit as that vanishes.
    double previous = -1e300;
    for (const double beta : {1e-2, 1e-4, 1e-6, 1e-8}) {
      const double value = conditional_published(mu, mu, c, c, beta).item();
      CHECK(value > previous + 4);
      previous = value;
    }
  }
  // One singular covariance is enough, in either place.
  const Tensor mu = zeros({1, 2}, kF64), whole = unsqueeze(eye(2, -1, kF64), 0);
  const Tensor line = tensor(std::vector<double>{1, 2, 2, 4}, {1, 2, 2}, kF64);
  CHECK_THROWS_WITH(conditional_published(mu, mu, line, whole, 0),
                    ContainsSubstring("not positive"));
  CHECK_THROWS_WITH(conditional_published(mu, mu, whole, line, 0),
                    ContainsSubstring("not positive"));
  CHECK(conditional_published(mu, mu, whole, whole, 0).item() == 0);
}

TEST_CASE("the conditional terms' gradients", "[gradcheck]") {
  manual_seed(9);
  const Tensors views{randn({6, 3}, kF64), randn({6, 3}, kF64)};
  const auto passes = [&](const auto& f) {
    const auto result = gradcheck(f, views);
    INFO(result.message);
    CHECK(result.ok);
  };
  passes([](const Tensors& x) { return conditional_isotropic(x[0], x[1], 0.7); });
  passes([](const Tensors& x) { return conditional_fitted(x[0], x[1], 0.1); });
  passes([](const Tensors& x) {
    const Tensor s = unsqueeze(x[0], 2) * unsqueeze(x[0], 1);
    return conditional_published(x[0], x[1], s, s * 2, 0.5);
  });
}
