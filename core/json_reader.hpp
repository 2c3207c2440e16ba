#pragma once
// JsonReader: options out of a JSON object, with errors that a person can act on.
//
// Every key that is read is remembered; `finish` refuses the ones nobody asked for and names the
// nearest key that exists, or all if none is near, so that a misspelt option never goes unnoticed.
//
//   JsonReader reader(json, "RandomSolarize");
//   const double p = reader.get("p", 0.5);
//   reader.finish();   // {"prob": 0.5} -> [RandomSolarize] unknown key "prob": did you mean "p"?
//
// This header names Json only: whoever looks into one includes <nlohmann/json.hpp>, which takes a
// compiler seconds.
#include <array>
#include <concepts>
#include <cstdint>
#include <invar/core/error.hpp>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace invar {

using Json = nlohmann::json;

/// The value in `text`, comments left out. Error naming `source` (a file), line and column if it is
/// not JSON, and if it nests deeper than 100 levels: copying and printing a value recurses.
Json parse_json(std::string_view text, std::string_view source);

/// The candidate with the smallest edit distance to `word` among those that are near: at most half
/// of its letters, or the one holds the other. Empty if none is.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

/// For messages, behind an unknown word: `did you mean "..."?` with the nearest of the candidates,
/// or all of them if none is near.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

/// For messages: the beginning of a value as JSON.
std::string excerpt(const Json& json);

/// What JsonReader reads.
template <class T>
concept JsonValue = std::same_as<T, bool> || std::same_as<T, int> ||
    std::same_as<T, std::int64_t> || std::same_as<T, std::uint64_t> || std::same_as<T, double> ||
    std::same_as<T, std::string> || std::same_as<T, Json> ||
    std::same_as<T, std::vector<std::int64_t>> || std::same_as<T, std::vector<double>> ||
    std::same_as<T, std::vector<std::string>> || std::same_as<T, std::array<double, 2>>;

/// A value of another type than T, or one that T cannot hold, is an Error.
class JsonReader {
 public:
  /// `where` opens every error message. Error unless json is an object.
  JsonReader(const Json& json, std::string where);

  bool has(const std::string& key) const;

  /// The value of a key that may be absent.
  template <JsonValue T>
  T get(const std::string& key, T otherwise);

  /// The value of a key that must be there.
  template <JsonValue T>
  T require(const std::string& key);

  /// Error if the object holds a key that was never asked for.
  void finish() const;

  const std::string& where() const { return where_; }

 private:
  const Json* find(const std::string& key);
  /// The keys that nobody asked for so far.
  std::vector<std::string> unknown_keys() const;
  template <JsonValue T>
  T convert(const std::string& key, const Json& value) const;

  std::shared_ptr<const Json> json_;
  std::string where_;
  std::vector<std::string> known_;
};

}  // namespace invar
