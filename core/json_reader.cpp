#include <algorithm>
#include <invar/core/json_reader.hpp>
#include <numeric>

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

JsonReader::JsonReader(Json json, std::string where)
    : json_(std::move(json)), where_(std::move(where)) {
  check(json_.is_object(), where_, "expected a JSON object {{...}}, got {}", json_.dump());
}

const Json* JsonReader::find(const std::string& key) {
  known_.push_back(key);
  const auto it = json_.find(key);
  return it == json_.end() ? nullptr : &*it;
}

void JsonReader::wrong_type(const std::string& key, const Json& value) const {
  fail(where_, "the key \"{}\" has a value of the wrong type: {}", key, value.dump());
}

void JsonReader::finish() const {
  for (const auto& [key, value] : json_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    check(!known_.empty(), where_, "unknown key \"{}\": no keys are expected here", key);
    fail(where_, "unknown key \"{}\": did you mean \"{}\"?", key, nearest_word(key, known_));
  }
}

}  // namespace invar
