#pragma once
// JsonReader: options out of a JSON object, with errors that a person can act on.
//
// Every key that is read is remembered; `finish` refuses the ones nobody asked for and names the
// nearest key that exists, so that a misspelt option never goes unnoticed.
//
//   JsonReader reader(json, "RandomSolarize");
//   const double p = reader.get("p", 0.5);
//   reader.finish();   // {"prob": 0.5} -> [RandomSolarize] unknown key "prob": did you mean "p"?
#include <invar/core/error.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace invar {

using Json = nlohmann::json;

/// The candidate with the smallest edit distance to `word`; empty if there is none.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

class JsonReader {
 public:
  /// `where` opens every error message. Error unless json is an object.
  JsonReader(Json json, std::string where);

  bool has(const std::string& key) const { return json_.contains(key); }

  /// The value of a key that may be absent.
  template <class T>
  T get(const std::string& key, T otherwise) {
    const Json* value = find(key);
    return value ? convert<T>(key, *value) : otherwise;
  }

  /// The value of a key that must be there.
  template <class T>
  T require(const std::string& key) {
    const Json* value = find(key);
    check(value != nullptr, where_, "expected the key \"{}\"", key);
    return convert<T>(key, *value);
  }

  /// Error if the object holds a key that was never asked for.
  void finish() const;

  const std::string& where() const { return where_; }

 private:
  const Json* find(const std::string& key);
  [[noreturn]] void wrong_type(const std::string& key, const Json& value) const;

  template <class T>
  T convert(const std::string& key, const Json& value) const {
    // nlohmann turns 1.5 into int 1 and true into 1.0 without a word: not for options.
    bool fits = true;
    if constexpr (std::is_same_v<T, bool>) {
      fits = value.is_boolean();
    } else if constexpr (std::is_integral_v<T>) {
      fits = value.is_number_integer();
    } else if constexpr (std::is_floating_point_v<T>) {
      fits = value.is_number();
    }
    if (!fits) wrong_type(key, value);
    try {
      return value.get<T>();
    } catch (const Json::exception&) {
      wrong_type(key, value);
    }
  }

  Json json_;
  std::string where_;
  std::vector<std::string> known_;
};

}  // namespace invar
