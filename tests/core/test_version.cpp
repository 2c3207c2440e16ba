#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <invar/core/version.hpp>

TEST_CASE("the version has three parts", "[smoke]") {
  CHECK(std::ranges::count(invar::version(), '.') == 2);
}
