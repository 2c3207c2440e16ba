#include "tuning.hpp"

#include <fmt/ranges.h>

#include <string_view>

#include "run_directory.hpp"

namespace invar::app {
namespace {

constexpr const char* kWhere = "conv_choices";

template <class T>
using Names = std::vector<std::pair<std::string_view, T>>;

const Names<ConvPass> kPasses{{"forward", ConvPass::forward},
                              {"backward_input", ConvPass::backward_input},
                              {"backward_weight", ConvPass::backward_weight}};
const Names<DType> kDTypes{{"f32", DType::f32}, {"bf16", DType::bf16}};
const Names<ConvAlgorithm> kAlgorithms{{"direct", ConvAlgorithm::direct},
                                       {"winograd", ConvAlgorithm::winograd}};

template <class T>
std::string_view name_in(const Names<T>& names, T value) {
  for (const auto& [name, v] : names) {
    if (v == value) return name;
  }
  fail_internal(kWhere, "a value without a name");
}

template <class T>
T value_in(const Names<T>& names, JsonReader& reader, const std::string& key) {
  const auto given = reader.require<std::string>(key);
  std::vector<std::string> known;
  for (const auto& [name, value] : names) {
    if (name == given) return value;
    known.emplace_back(name);
  }
  fail(kWhere, "unknown {} \"{}\": {}", key, given, suggestion(given, known));
}

Dims sizes(JsonReader& reader, const std::string& key, std::size_t count) {
  const auto given = reader.require<std::vector<std::int64_t>>(key);
  check(given.size() == count, kWhere, "expected {} sizes in {}, got {}", count, key, given.size());
  Dims dims;
  for (const std::int64_t n : given) dims.push_back(n);
  return dims;
}

Json array_of(const Dims& dims) {
  return Json(std::vector<std::int64_t>(dims.begin(), dims.end()));
}

}  // namespace

Json to_json(const std::vector<ConvTiming>& timings) {
  Json list = Json::array();
  for (const ConvTiming& t : timings) {
    const ConvProblem& p = t.choice.problem;
    list.push_back({{"pass", name_in(kPasses, p.pass)},
                    {"dtype", name_in(kDTypes, p.dtype)},
                    {"input", array_of(p.input)},
                    {"weight", array_of(p.weight)},
                    {"padding", {p.padding.height, p.padding.width}},
                    {"stride", {p.stride.height, p.stride.width}},
                    {"algorithm", name_in(kAlgorithms, t.choice.algorithm)},
                    {"direct_ms", t.direct_ms},
                    {"winograd_ms", t.winograd_ms}});
  }
  return list;
}

ConvChoices read_conv_choices(const Json& list) {
  check(list.is_array(), kWhere, "expected a list, as the program tune writes it, got {}",
        list.type_name());
  ConvChoices choices;
  for (const Json& entry : list) {
    JsonReader reader(entry, kWhere);
    const auto pass = value_in(kPasses, reader, "pass");
    const auto dtype = value_in(kDTypes, reader, "dtype");
    const Dims input = sizes(reader, "input", 4), weight = sizes(reader, "weight", 4);
    const Dims padding = sizes(reader, "padding", 2), stride = sizes(reader, "stride", 2);
    const auto algorithm = value_in(kAlgorithms, reader, "algorithm");
    reader.get("direct_ms", 0.0);
    reader.get("winograd_ms", 0.0);
    reader.finish();
    choices.push_back(
        {{pass, dtype, input, weight, Size2(padding[0], padding[1]), Size2(stride[0], stride[1])},
         algorithm});
  }
  return choices;
}

void inline_conv_choices(Json& config) {
  const Json::json_pointer where("/training/conv_choices");
  if (!config.contains(where) || !config[where].is_string()) return;
  config[where] = read_json(config[where].get<std::string>());
}

}  // namespace invar::app
