// Options from JSON: what is refused, and what the message says.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <invar/core/json_reader.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using namespace invar;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

TEST_CASE("JSON that is none is refused with its place", "[unit]") {
  CHECK(parse_json("{\"a\": [1, 2]} // why", "x")["a"][1] == 2);
  CHECK_THROWS_WITH(parse_json("{\n \"a\": }", "run.json"),
                    ContainsSubstring("[json] expected JSON in 'run.json', got an error: ") &&
                        ContainsSubstring("line 2, column 7"));
  CHECK_THROWS_WITH(parse_json("", "x"), ContainsSubstring("unexpected end of input"));
  CHECK_THROWS_WITH(parse_json("{\"lr\": 1e400}", "x"), ContainsSubstring("'1e400'"));
  CHECK_THROWS_WITH(parse_json(std::string("{}\0{", 4), "x"), ContainsSubstring("a NUL character"));
  CHECK_THROWS_WITH(parse_json("\"\xff\"", "x"), ContainsSubstring("UTF-8"));
  CHECK_THROWS_WITH(parse_json(R"({"a": {"b": 1, "c": {}, "b": 2}})", "run.json"),
                    ContainsSubstring("once in 'run.json', got \"b\" twice"));
  CHECK(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "x")["b"][1]["a"] == 2);
}

TEST_CASE("JSON that nests deeply is refused, not recursed into", "[unit]") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(parse_json(nested(100), "x").is_array());
  CHECK_THROWS_WITH(parse_json(nested(1'000'000), "x"),
                    ContainsSubstring("at most 100 levels of JSON in 'x'"));
  std::string objects;
  for (int i = 0; i < 300'000; ++i) objects += "{\"a\":";
  CHECK_THROWS_WITH(parse_json(objects, "x"), ContainsSubstring("at most 100 levels"));
}

TEST_CASE("A value of another type, or one that does not fit, is refused", "[unit]") {
  const auto refuses = [](const char* json, const char* what, const auto& read) {
    CAPTURE(json);
    JsonReader reader(parse_json(fmt::format("{{\"key\": {}}}", json), "x"), "options");
    const std::string message = fmt::format(" for the key \"key\", got a value {}: ", what);
    CHECK_THROWS_WITH(read(reader),
                      StartsWith("[options] expected ") && ContainsSubstring(message));
  };
  const auto as = []<class T>(T otherwise) {
    return [otherwise](JsonReader& reader) { reader.get("key", otherwise); };
  };
  constexpr const char *kType = "of the wrong type", *kRange = "out of range";
  refuses("1.5", kType, as(1));
  refuses("true", kType, as(1));
  refuses("\"1\"", kType, as(1));
  refuses("4294967296", kRange, as(1));
  refuses("-2147483649", kRange, as(1));
  refuses("9223372036854775808", kRange, as(std::int64_t{1}));
  refuses("-1", kRange, as(std::uint64_t{1}));
  refuses("true", kType, as(1.0));
  refuses("1", kType, as(true));
  refuses("1", kType, as(std::string()));
  refuses("1", kType, as(std::vector<std::int64_t>()));
  refuses("[1, 2.5]", kType, as(std::vector<std::int64_t>()));
  refuses("[1, \"2\"]", kType, as(std::vector<double>()));
  refuses("[1]", kType, as(std::vector<std::string>()));
  refuses("[1]", kType, as(std::array<double, 2>()));
  refuses("[1, 2, 3]", kType, as(std::array<double, 2>()));
  JsonReader wrong(Json{{"lr", "0.1"}, {"workers", 1 << 20}, {"size", {1, "2"}}}, "training");
  CHECK_THROWS_WITH(wrong.get("lr", 0.1),
                    "[training] expected a number for the key \"lr\", got a "
                    "value of the wrong type: \"0.1\"");
  CHECK_THROWS_WITH(wrong.get("size", std::vector<double>()),
                    ContainsSubstring("expected a list, each a number, for the key"));

  const Json json = {{"int", -5},
                     {"large", std::numeric_limits<std::uint64_t>::max()},
                     {"whole", 2},
                     {"list", {1, -2}},
                     {"pair", {0.5, 2}}};
  JsonReader reader(json, "options");
  CHECK(reader.get("int", 1) == -5);
  CHECK(reader.get("large", std::uint64_t{1}) == std::numeric_limits<std::uint64_t>::max());
  CHECK(reader.get("whole", 1.0) == 2);
  CHECK(reader.get("list", std::vector<std::int64_t>()) == std::vector<std::int64_t>{1, -2});
  CHECK(reader.get("pair", std::array<double, 2>()) == std::array<double, 2>{0.5, 2});
  CHECK(reader.get("absent", 7) == 7);
  CHECK_NOTHROW(reader.finish());
}

TEST_CASE("Misspelt and missing keys name the nearest one", "[unit]") {
  JsonReader reader(Json{{"epoch", 3}, {"seed", 1}}, "training");
  reader.get("seed", 0);
  reader.get("epochs", 0);
  CHECK_THROWS_WITH(reader.finish(),
                    ContainsSubstring("unknown key \"epoch\": did you mean \"epochs\"?"));
  CHECK_THROWS_WITH(
      reader.require<int>("Epoch"),
      ContainsSubstring("expected the key \"Epoch\"; the nearest one here is \"epoch\""));
  // Where none is near, all are named.
  JsonReader optimizer(Json{{"learning_rate", 0.1}}, "optimizer");
  optimizer.get("name", std::string());
  CHECK_THROWS_WITH(optimizer.require<double>("lr"), "[optimizer] expected the key \"lr\"");
  optimizer.get("name", std::string());  // twice
  CHECK_THROWS_WITH(optimizer.finish(),
                    "[optimizer] unknown key \"learning_rate\": expected one of \"name\", \"lr\"");
  const std::vector<std::string> schedules{"warmup_cosine", "constant"};
  CHECK(nearest_word("cosine", schedules) == "warmup_cosine");
  CHECK(nearest_word("konstant", schedules) == "constant");
  CHECK(nearest_word("linear", schedules).empty());
  CHECK(nearest_word("", schedules).empty());
  CHECK(suggestion("linear", schedules) == "expected one of \"warmup_cosine\", \"constant\"");
  CHECK_THROWS_WITH(JsonReader(Json::object(), "x").require<int>("lr"),
                    ContainsSubstring("[x] expected the key \"lr\""));
  CHECK_THROWS_WITH(JsonReader(Json::array({1, 2}), "x"),
                    ContainsSubstring("[x] expected a JSON object {...}, got [1,2]"));
  CHECK_THROWS_WITH(JsonReader(Json(std::string(1000, 'a')), "x"), ContainsSubstring("aaa..."));
}
