// Diagnostics: what they say of known cases, and that whatever training brings has a value or NaN.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/information/entropy.hpp>

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

constexpr TensorOptions kDouble{.dtype = DType::f64};

}  // namespace

TEST_CASE("diagnostics exist for whatever training brings", "[unit]") {
  manual_seed(13);
  const Tensor z = randn({32, 6});
  for (const std::string& name : ssl::diagnostic_names()) {
    INFO(name);
    CHECK(std::isfinite(ssl::diagnostic(name, {z, z + 0.1 * randn({32, 6})})));
    CHECK_NOTHROW(ssl::diagnostic(name, {zeros({32, 6}), zeros({32, 6})}));
    CHECK_NOTHROW(ssl::diagnostic(name, {ones({32, 6}) * 3.0, ones({32, 6}) * 3.0}));
    const Tensor line = randn({32, 1}) * ones({32, 6});
    CHECK_NOTHROW(ssl::diagnostic(name, {line, line}));
  }
  CHECK_THAT(ssl::diagnostic("std", {z * 3.0, z}),
             WithinRel(3 * ssl::diagnostic("std", {z, z}), 1e-5));
  CHECK(ssl::diagnostic("dead", {z * tensor({1, 0, 1, 0, 1, 1}), z}) == 1.0 / 3);
  CHECK(ssl::diagnostic("rankme", {z, z}) > 4);
  CHECK_THAT(ssl::diagnostic("unit_logdet_entropy", {z, z}),
             WithinRel(ssl::diagnostic("unit_logdet_entropy", {z * 7.0, z}), 1e-5));
  // Both bounds are of one s2, so they enclose what lies between.
  const double s2 = 6 / (2 * std::log(32.0));
  const double upper = ssl::diagnostic("information_upper", {z, z});
  const double lower = ssl::diagnostic("information_lower", {z, z});
  Generator generator(3);
  const double between = ssl::mixture_information(z, s2, randn(z.shape(), {}, generator)).item();
  CHECK(lower < between);
  CHECK(between < upper);
  // 32 samples of independent unit normals: the bias of the determinant is taken out.
  CHECK_THAT(
      ssl::diagnostic("corrected_logdet_entropy", {z, z}) - logdet(ssl::covariance(z)).item() / 12,
      WithinAbs(-ssl::wishart_bias(32, 6) / 6, 1e-5));
  // Neighbours at distance .3; of rows of one length the scale does not matter.
  const Tensor line = unsqueeze(arange(0, 30, 3), 1) * tensor({1, 0});
  CHECK_THAT(ssl::diagnostic("overlap", {line * 0.1, line}),
             WithinAbs(std::erfc(1.5 / std::sqrt(2.0)) / 2, 1e-6));
  CHECK_THAT(ssl::diagnostic("unit_overlap", {line, line}),
             WithinRel(ssl::diagnostic("unit_overlap", {line * 2.0, line}), 1e-5));
  CHECK_THROWS_MATCHES(ssl::diagnostic("rankmee", {z, z}), Error,
                       MessageMatches(ContainsSubstring("\"rankme\"")));
}

TEST_CASE("diagnostics that are lists, and those of a network around images", "[unit]") {
  manual_seed(14);
  const Tensor z = randn({40, 6}, kDouble);
  const std::vector<double> spectrum = ssl::diagnostic_list("spectrum", {z, z});
  REQUIRE(spectrum.size() == 6);
  CHECK(std::ranges::is_sorted(spectrum, std::greater<>()));
  double total = 0;
  for (const double v : spectrum) total += v;
  CHECK_THAT(total, WithinRel(sum(var(z, {0})).item(), 1e-10));
  CHECK(ssl::diagnostic_list("std_per_dimension", {z * 2.0, z}).size() == 6);
  CHECK_THROWS_MATCHES(ssl::diagnostic_list("spectra", {z, z}), Error,
                       MessageMatches(ContainsSubstring("\"spectrum\"")));

  // An affine map: noise moves nothing but the output, by A, and what comes out is normal.
  const Tensor a = randn({5, 3}), x = randn({50, 5}), other = x + 0.1 * randn({50, 5});
  const ssl::Surroundings affine{[&](const Tensor& in) { return matmul(in, a); }, x, other, 0.3};
  CHECK(ssl::local_diagnostic("same_region", affine) == 1);
  CHECK(ssl::local_diagnostic("linearisation_error", affine) < 1e-5);
  CHECK_THAT(ssl::local_diagnostic("noise_normality", affine), WithinAbs(0.5, 0.2));
  const double spread = 0.09 * sum(square(a)).item() / 3;
  CHECK_THAT(ssl::local_diagnostic("noise_variance", affine), WithinRel(spread, 0.5));
  const Tensor a64 = to(a, DType::f64), c = matmul(transpose(a64), a64) * 0.09;
  const Tensor regularised = c + eye(3, -1, kDouble) * 1e-3;
  const Tensor z64 = matmul(to(x, DType::f64), a64), z64_other = matmul(to(other, DType::f64), a64);
  const Tensor moved = narrow(z64 - z64_other, 0, 0, 8);
  CHECK_THAT(
      ssl::local_diagnostic("conditional_published", affine),
      WithinRel((-0.5 * mean(sum(square(moved), {1})).item() - 2 * logdet(regularised).item()) / 3,
                1e-4));
  CHECK_THAT(ssl::local_diagnostic("gaussian_entropy", affine),
             WithinRel(logdet(ssl::covariance(z64) + regularised).item() / 6, 1e-4));
  // The covariance may be that of more images.
  ssl::Surroundings among_more = affine;
  among_more.outputs = matmul(randn({200, 5}), a);
  const Tensor more = ssl::covariance(to(among_more.outputs, DType::f64));
  CHECK_THAT(ssl::local_diagnostic("gaussian_entropy", among_more),
             WithinRel(logdet(more + regularised).item() / 6, 1e-4));
  // A rectifier flips.
  const ssl::Surroundings bent{[&](const Tensor& in) { return relu(matmul(in, a)); }, x, other,
                               1.0};
  CHECK(ssl::local_diagnostic("flip_rate", bent) > 0.01);
  CHECK(ssl::local_diagnostic("same_region", bent) < 0.99);
  for (const std::string& name : ssl::local_diagnostic_names()) {
    INFO(name);
    CHECK(std::isfinite(ssl::local_diagnostic(name, bent)));
    CHECK(ssl::local_diagnostic(name, bent) == ssl::local_diagnostic(name, bent));
  }
  CHECK_THROWS_MATCHES(ssl::local_diagnostic("flip_rates", bent), Error,
                       MessageMatches(ContainsSubstring("did you mean \"flip_rate\"")));
  // The other view may be of another size, as crops are.
  const auto of_first = [&](const Tensor& in) { return bent.f(narrow(in, 1, 0, 5)); };
  const ssl::Surroundings wider{of_first, x, cat({other, other}, 1), 1.0};
  CHECK_THAT(ssl::local_diagnostic("conditional_published", wider),
             WithinRel(ssl::local_diagnostic("conditional_published", bent), 1e-5));
  CHECK_THROWS_MATCHES(
      ssl::local_diagnostic("conditional_published", {bent.f, x, narrow(other, 0, 0, 7)}), Error,
      MessageMatches(ContainsSubstring("50 images, got [7, 5]")));
  CHECK_THROWS_MATCHES(ssl::local_diagnostic("conditional_published", {bent.f, x, {}}), Error,
                       MessageMatches(ContainsSubstring("second view")));
  // The bound's terms, by name.
  const Tensor labels = randint(0, 4, {40});
  const auto terms = ssl::bound_diagnostics(z, {z, z + 0.1}, labels);
  REQUIRE(terms.size() == 4);
  CHECK(terms[0].first == "bound_invariance");
  CHECK_THAT(terms[0].second, WithinRel(0.1 * std::sqrt(6.0), 1e-9));
}

TEST_CASE("diagnostics of features that are NaN are NaN", "[unit]") {
  manual_seed(15);
  const double nan = std::nan("");
  const Tensor x = randn({16, 5}), z = full({16, 6}, nan), a = full({5, 6}, nan);
  for (const std::string& name : ssl::diagnostic_names()) {
    INFO(name);
    CHECK_NOTHROW(ssl::diagnostic(name, {z, z}));
  }
  for (const std::string& name : ssl::diagnostic_list_names()) {
    INFO(name);
    const std::vector<double> list = ssl::diagnostic_list(name, {z, z});
    CHECK(std::ranges::all_of(list, [](double v) { return std::isnan(v); }));
    CHECK_FALSE(list.empty());
  }
  for (const std::string& name : ssl::local_diagnostic_names()) {
    INFO(name);
    const auto collapsed = [&](const Tensor& in) { return matmul(in, a); };
    CHECK_NOTHROW(ssl::local_diagnostic(name, {collapsed, x, x}));
    const auto refuses = [](const Tensor&) -> Tensor { fail("network", "expected less"); };
    CHECK_THROWS_MATCHES(ssl::local_diagnostic(name, {refuses, x, x}), Error,
                         MessageMatches(ContainsSubstring("expected less")));
  }
  for (const auto& [name, value] : ssl::bound_diagnostics(z, {z, z}, randint(0, 4, {16}))) {
    INFO(name);
    CHECK(std::isnan(value));
  }
}
