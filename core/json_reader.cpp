#include <algorithm>
#include <array>
#include <cstdint>
#include <invar/core/json_reader.hpp>
#include <nlohmann/json.hpp>
#include <numeric>
#include <type_traits>

namespace invar {

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  // Levenshtein's distance, one row of the table at a time.
  const auto distance = [&](std::string_view other) {
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
  };
  const auto best = std::min_element(
      candidates.begin(), candidates.end(),
      [&](const std::string& a, const std::string& b) { return distance(a) < distance(b); });
  return best == candidates.end() ? std::string() : *best;
}

JsonReader::JsonReader(const Json& json, std::string where)
    : json_(std::make_shared<const Json>(json)), where_(std::move(where)) {
  check(json.is_object(), where_, "expected a JSON object {{...}}, got {}", json.dump());
}

bool JsonReader::has(const std::string& key) const { return json_->contains(key); }

const Json* JsonReader::find(const std::string& key) {
  known_.push_back(key);
  const auto it = json_->find(key);
  return it == json_->end() ? nullptr : &*it;
}

template <class T>
T JsonReader::convert(const std::string& key, const Json& value) const {
  // nlohmann turns 1.5 into int 1 and true into 1.0 without a word: not for options.
  bool fits = true;
  if constexpr (std::is_same_v<T, bool>) {
    fits = value.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    fits = value.is_number_integer();
  } else if constexpr (std::is_floating_point_v<T>) {
    fits = value.is_number();
  }
  try {
    if (fits) return value.get<T>();
  } catch (const Json::exception&) {
    // said below
  }
  fail(where_, "the key \"{}\" has a value of the wrong type: {}", key, value.dump());
}

template <class T>
T JsonReader::get(const std::string& key, T otherwise) {
  const Json* value = find(key);
  return value ? convert<T>(key, *value) : otherwise;
}

template <class T>
T JsonReader::require(const std::string& key) {
  const Json* value = find(key);
  check(value != nullptr, where_, "expected the key \"{}\"", key);
  return convert<T>(key, *value);
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
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    check(!known_.empty(), where_, "unknown key \"{}\": no keys are expected here", key);
    fail(where_, "unknown key \"{}\": did you mean \"{}\"?", key, nearest_word(key, known_));
  }
}

}  // namespace invar
