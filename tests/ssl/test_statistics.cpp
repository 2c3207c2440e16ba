// Statistics against SciPy's numbers (make_statistics_golden.py).
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fstream>
#include <invar/core/error.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/ssl/information/statistics.hpp>
#include <limits>
#include <nlohmann/json.hpp>

using namespace invar;
using namespace invar::ssl;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

Json golden() {
  std::ifstream file("tests/ssl/statistics_golden.json");
  return Json::parse(file);
}

std::vector<double> sample(const Json& all, const Json& name) {
  return all["samples"][name.get<std::string>()].get<std::vector<double>>();
}

double number(const Json& record, const char* key) { return record[key].get<double>(); }

}  // namespace

TEST_CASE("Student's t is SciPy's", "[unit]") {
  const Json all = golden();
  for (const Json& record : all["t"]) {
    INFO(record);
    CHECK_THAT(student_t_cdf(number(record, "t"), number(record, "dof")),
               WithinRel(number(record, "cdf"), 1e-10));
  }
  for (const Json& record : all["quantiles"]) {
    INFO(record);
    CHECK_THAT(student_t_quantile(number(record, "p"), number(record, "dof")),
               WithinRel(number(record, "t"), 1e-9) || WithinAbs(number(record, "t"), 1e-12));
  }
  // Near 0, where four degrees of freedom have density 3/8.
  CHECK_THAT(student_t_cdf(1e-7, 4) - 0.5, WithinRel(3.75e-8, 1e-7));
  CHECK_THAT(student_t_cdf(-1e-7, 4) - 0.5, WithinRel(-3.75e-8, 1e-7));
  CHECK_THAT(student_t_quantile(0.5 + 3.75e-8, 4), WithinRel(1e-7, 1e-7));
  CHECK(student_t_cdf(1e200, 4) == 1);
}

TEST_CASE("intervals, permutation tests and rank correlations are SciPy's", "[unit]") {
  const Json all = golden();
  for (const Json& record : all["intervals"]) {
    INFO(record);
    const Interval interval = mean_interval(sample(all, record["sample"]));
    CHECK_THAT(interval.mean, WithinRel(number(record, "mean"), 1e-12));
    CHECK_THAT(interval.low, WithinRel(number(record, "low"), 1e-9));
    CHECK_THAT(interval.high, WithinRel(number(record, "high"), 1e-9));
  }
  for (const Json& record : all["pairs"]) {
    INFO(record);
    const auto a = sample(all, record["a"]), b = sample(all, record["b"]);
    const Interval interval = difference_interval(a, b);
    CHECK_THAT(interval.low, WithinRel(number(record, "low"), 1e-9));
    CHECK_THAT(interval.high, WithinRel(number(record, "high"), 1e-9));
    CHECK_THAT(permutation_test(a, b), WithinRel(number(record, "p"), 1e-12));
    CHECK_THAT(permutation_test(b, a), WithinRel(number(record, "p"), 1e-12));
  }
  for (const Json& record : all["correlations"]) {
    INFO(record);
    const RankCorrelation r = rank_correlation(sample(all, record["x"]), sample(all, record["y"]));
    CHECK_THAT(r.rho, WithinRel(number(record, "rho"), 1e-12));
    CHECK_THAT(r.p, WithinRel(number(record, "p"), 1e-9));
  }
}

TEST_CASE("statistics of the smallest samples", "[unit]") {
  // Note [How many seeds].
  const std::vector<double> low = {1, 2, 3, 4, 5}, high = {6, 7, 8, 9, 10};
  CHECK_THAT(permutation_test(low, high), WithinRel(2.0 / 252, 1e-12));
  CHECK_THAT(permutation_test(std::span(low).first(3), std::span(high).first(3)),
             WithinRel(0.1, 1e-12));
  CHECK(permutation_test(low, low) == 1);
  CHECK(ranks(std::vector<double>{3, 1, 3, 2, 3}) == std::vector<double>{4, 1, 4, 2, 4});
  const std::vector<double> one = {7}, same = {2, 2, 2};
  CHECK(mean_interval(one).mean == 7);
  CHECK(std::isnan(mean_interval(one).low));
  CHECK(std::isnan(difference_interval(one, low).high));
  CHECK(mean_interval(same).low == 2);
  CHECK(mean_interval(same).high == 2);
  CHECK(std::isnan(rank_correlation(same, same).rho));
  CHECK(rank_correlation(low, low).rho == 1);
  CHECK(rank_correlation(low, low).p == 0);
  const std::vector<double> falling = {5, 4, 3, 2, 1};
  CHECK(rank_correlation(low, falling).rho == -1);
}

TEST_CASE("statistics refuse what they cannot measure", "[unit]") {
  const std::vector<double> none, two = {1, 2}, many(13, 1.0);
  const std::vector<double> bad = {1, std::numeric_limits<double>::quiet_NaN(), 3};
  CHECK_THROWS_WITH(mean_interval(none), ContainsSubstring("at least 1"));
  CHECK_THROWS_WITH(mean_interval(bad), ContainsSubstring("finite"));
  CHECK_THROWS_WITH(mean_interval(two, 1), ContainsSubstring("level"));
  CHECK_THROWS_WITH(permutation_test(many, many), ContainsSubstring("at most 24"));
  CHECK_THROWS_WITH(rank_correlation(two, two), ContainsSubstring("at least 3"));
  CHECK_THROWS_WITH(rank_correlation(two, many), ContainsSubstring("2 and 13"));
  CHECK_THROWS_AS(student_t_quantile(1, 3), Error);
  CHECK_THROWS_AS(student_t_cdf(1, 0), Error);
}
