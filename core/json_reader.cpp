#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <invar/core/json_reader.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

namespace invar {

namespace {

/// Levenshtein's distance, one row of the table at a time.
std::size_t edit_distance(std::string_view word, std::string_view other) {
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 0; i < word.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < other.size(); ++j) {
      const std::size_t replaced = diagonal + (word[i] != other[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest;
  std::size_t least = std::string::npos;
  for (const std::string& other : candidates) {
    const std::size_t distance = edit_distance(word, other);
    const bool is_part = !word.empty() && (word.find(other) != std::string::npos ||
                                           other.find(word) != std::string::npos);
    if (distance >= least || (2 * distance > word.size() && !is_part)) continue;
    nearest = other;
    least = distance;
  }
  return nearest;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_word(word, candidates);
  if (!nearest.empty()) return fmt::format("did you mean \"{}\"?", nearest);
  return fmt::format("expected one of \"{}\"", fmt::join(candidates, "\", \""));
}

Json parse_json(std::string_view text, std::string_view source) {
  constexpr int kDeepest = 100;
  std::vector<std::set<std::string>> keys;  // of each object that is open
  const auto inspect = [&](int depth, Json::parse_event_t event, Json& value) {
    check(depth <= kDeepest, "json", "expected at most {} levels of JSON in '{}', got more",
          kDeepest, source);
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      // Of a section that stands twice all but the last would be lost without a word.
      check(keys.back().insert(key).second, "json",
            "expected each key of an object once in '{}', got \"{}\" twice", source, key);
    }
    return true;
  };
  // The parser takes it for the end.
  check(text.find('\0') == std::string_view::npos, "json",
        "expected JSON in '{}', got text with a NUL character", source);
  try {
    return Json::parse(text, inspect, /*allow_exceptions=*/true, /*ignore_comments=*/true);
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 2, column 10: ..."
    const std::string_view what = error.what();
    fail("json", "expected JSON in '{}', got an error: {}", source,
         what.substr(std::min(what.find(']') + 2, what.size())));
  }
}

std::string excerpt(const Json& json) {
  constexpr std::size_t kLongest = 80;
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
  return text;
}

namespace {

/// True iff the value is a T. nlohmann turns 1.5 into the integer 1, true into 1.0 and 2^32 into
/// the int 0 without a word: not for options.
template <JsonValue T>
bool is(const Json& value) {
  if constexpr (std::is_same_v<T, Json>) {
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    return value.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    return value.is_number_unsigned()
               ? std::in_range<T>(value.get<std::uint64_t>())
               : value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
  } else if constexpr (std::is_floating_point_v<T>) {
    return value.is_number();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value.is_string();
  } else if constexpr (std::is_same_v<T, std::array<double, 2>>) {
    return value.size() == 2 && is<std::vector<double>>(value);
  } else {
    return value.is_array() && std::all_of(value.begin(), value.end(), is<typename T::value_type>);
  }
}

/// What is(T) accepts, in words.
template <JsonValue T>
std::string wanted() {
  if constexpr (std::is_same_v<T, bool>) {
    return "true or false";
  } else if constexpr (std::is_integral_v<T>) {
    using Limits = std::numeric_limits<T>;
    return fmt::format("an integer from {} to {}", Limits::min(), Limits::max());
  } else if constexpr (std::is_floating_point_v<T>) {
    return "a number";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "a string";
  } else if constexpr (std::is_same_v<T, std::array<double, 2>>) {
    return "[number, number]";
  } else {
    return fmt::format("a list, each {},", wanted<typename T::value_type>());
  }
}

}  // namespace

JsonReader::JsonReader(const Json& json, std::string where)
    : json_(std::make_shared<const Json>(json)), where_(std::move(where)) {
  if (!json.is_object()) fail(where_, "expected a JSON object {{...}}, got {}", excerpt(json));
}

bool JsonReader::has(const std::string& key) const { return json_->contains(key); }

const Json* JsonReader::find(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  const auto it = json_->find(key);
  return it == json_->end() ? nullptr : &*it;
}

template <JsonValue T>
T JsonReader::convert(const std::string& key, const Json& value) const {
  if constexpr (!std::is_same_v<T, Json>) {
    const bool number =
        std::is_integral_v<T> && !std::is_same_v<T, bool> && value.is_number_integer();
    check(is<T>(value), where_, "expected {} for the key \"{}\", got a value {}: {}", wanted<T>(),
          key, number ? "out of range" : "of the wrong type", excerpt(value));
  }
  return value.get<T>();
}

template <JsonValue T>
T JsonReader::get(const std::string& key, T otherwise) {
  const Json* value = find(key);
  return value ? convert<T>(key, *value) : otherwise;
}

template <JsonValue T>
T JsonReader::require(const std::string& key) {
  const Json* value = find(key);
  if (!value) {
    const std::string nearest = nearest_word(key, unknown_keys());
    fail(
        where_, "expected the key \"{}\"{}", key,
        nearest.empty() ? std::string() : fmt::format("; the nearest one here is \"{}\"", nearest));
  }
  return convert<T>(key, *value);
}

std::vector<std::string> JsonReader::unknown_keys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) unknown.push_back(key);
  }
  return unknown;
}

template bool JsonReader::get(const std::string&, bool);
template bool JsonReader::require(const std::string&);
template int JsonReader::get(const std::string&, int);
template int JsonReader::require(const std::string&);
template std::int64_t JsonReader::get(const std::string&, std::int64_t);
template std::int64_t JsonReader::require(const std::string&);
template std::uint64_t JsonReader::get(const std::string&, std::uint64_t);
template std::uint64_t JsonReader::require(const std::string&);
template double JsonReader::get(const std::string&, double);
template double JsonReader::require(const std::string&);
template std::string JsonReader::get(const std::string&, std::string);
template std::string JsonReader::require(const std::string&);
template Json JsonReader::get(const std::string&, Json);
template Json JsonReader::require(const std::string&);
template std::array<double, 2> JsonReader::get(const std::string&, std::array<double, 2>);
template std::array<double, 2> JsonReader::require(const std::string&);
template std::vector<std::int64_t> JsonReader::get(const std::string&, std::vector<std::int64_t>);
template std::vector<std::int64_t> JsonReader::require(const std::string&);
template std::vector<double> JsonReader::get(const std::string&, std::vector<double>);
template std::vector<double> JsonReader::require(const std::string&);
template std::vector<std::string> JsonReader::get(const std::string&, std::vector<std::string>);
template std::vector<std::string> JsonReader::require(const std::string&);

void JsonReader::finish() const {
  const std::vector<std::string> unknown = unknown_keys();
  if (unknown.empty()) return;
  check(!known_.empty(), where_, "unknown key \"{}\": no keys are expected here", unknown[0]);
  fail(where_, "unknown key \"{}\": {}", unknown[0], suggestion(unknown[0], known_));
}

}  // namespace invar
