#include <algorithm>

#include "../common/process.hpp"
#include "experiments.hpp"

namespace invar::app {
namespace {

template <class T>
void check_each(const JsonReader& reader, const char* key, const std::vector<T>& values, T least) {
  check(!values.empty(), reader.where(), "expected at least one value of \"{}\"", key);
  for (const T v : values) {
    check(v >= least, reader.where(), "expected values of \"{}\" of at least {}, got {}", key,
          least, v);
  }
}

void check_sigmas(const JsonReader& reader, const std::vector<double>& sigmas) {
  check_each(reader, "sigmas", sigmas, 1e-12);
}

void check_least(const JsonReader& reader, const char* key, std::int64_t value,
                 std::int64_t least) {
  check(value >= least, reader.where(), "expected \"{}\" of at least {}, got {}", key, least,
        value);
}

}  // namespace

Json paper_settings() {
  return {
      {"normality",
       {{"images", 200},
        {"draws", {512, 128, 2048}},
        {"sigmas", {0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8}},
        {"expander", true},
        {"second_images", 20}}},
      {"overlap", {{"images", 0}, {"queries", 4000}, {"sigmas", {0.01, 0.03, 0.1, 0.3, 0.8}}}},
      {"affine", {{"images", 200}, {"sigmas", {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.8}}}},
      {"entropy", {{"images", 4000}}},
      {"bound", {{"labelled", {50, 0, 1000, 10000}}, {"unlabelled", 10000}, {"test", 10000}}},
      {"correlation", {{"images", 2000}, {"train", 10000}, {"test", 0}, {"checkpoints", true}}}};
}

Settings read_settings(const Json& json) {
  Settings s;
  JsonReader all(json, "settings");
  const auto section = [&](const char* name) {
    return JsonReader(all.get(name, Json::object()), name);
  };
  {
    JsonReader reader = section("normality");
    s.normality.images = reader.get("images", s.normality.images);
    s.normality.draws = reader.get("draws", s.normality.draws);
    s.normality.sigmas = reader.get("sigmas", s.normality.sigmas);
    s.normality.expander = reader.get("expander", s.normality.expander);
    s.normality.second_images = reader.get("second_images", s.normality.second_images);
    reader.finish();
    check_least(reader, "images", s.normality.images, 1);
    check_least(reader, "second_images", s.normality.second_images, 1);
    check_each<std::int64_t>(reader, "draws", s.normality.draws, 8);
    check_sigmas(reader, s.normality.sigmas);
  }
  {
    JsonReader reader = section("overlap");
    s.overlap.images = reader.get("images", s.overlap.images);
    s.overlap.queries = reader.get("queries", s.overlap.queries);
    s.overlap.sigmas = reader.get("sigmas", s.overlap.sigmas);
    s.overlap.quantiles = reader.get("quantiles", s.overlap.quantiles);
    reader.finish();
    check_least(reader, "images", s.overlap.images, 0);
    check_least(reader, "queries", s.overlap.queries, 1);
    check_sigmas(reader, s.overlap.sigmas);
    check_each(reader, "quantiles", s.overlap.quantiles, 0.0);
  }
  {
    JsonReader reader = section("affine");
    s.affine.images = reader.get("images", s.affine.images);
    s.affine.sigmas = reader.get("sigmas", s.affine.sigmas);
    reader.finish();
    check_least(reader, "images", s.affine.images, 1);
    check_sigmas(reader, s.affine.sigmas);
  }
  {
    JsonReader reader = section("entropy");
    s.entropy.images = reader.get("images", s.entropy.images);
    reader.finish();
    check_least(reader, "images", s.entropy.images, 2);
  }
  {
    JsonReader reader = section("bound");
    s.bound.labelled = reader.get("labelled", s.bound.labelled);
    s.bound.unlabelled = reader.get("unlabelled", s.bound.unlabelled);
    s.bound.test = reader.get("test", s.bound.test);
    reader.finish();
    check_each<std::int64_t>(reader, "labelled", s.bound.labelled, 0);
    check_least(reader, "unlabelled", s.bound.unlabelled, 1);
    check_least(reader, "test", s.bound.test, 1);
  }
  {
    JsonReader reader = section("correlation");
    s.correlation.images = reader.get("images", s.correlation.images);
    s.correlation.train = reader.get("train", s.correlation.train);
    s.correlation.test = reader.get("test", s.correlation.test);
    s.correlation.checkpoints = reader.get("checkpoints", s.correlation.checkpoints);
    reader.finish();
    check_least(reader, "images", s.correlation.images, 2);
    check_least(reader, "train", s.correlation.train, 0);
    check_least(reader, "test", s.correlation.test, 0);
  }
  all.finish();
  return s;
}

void fit_counts(Settings& s, const Json& chosen, const std::vector<std::string>& experiments,
                const Study& study) {
  const struct {
    const char* experiment;
    const char* key;
    std::int64_t& value;
    Split split;
  } counts[] = {{"normality", "images", s.normality.images, Split::test},
                {"overlap", "images", s.overlap.images, Split::train},
                {"affine", "images", s.affine.images, Split::test},
                {"entropy", "images", s.entropy.images, Split::test},
                {"bound", "test", s.bound.test, Split::test},
                {"correlation", "images", s.correlation.images, Split::test},
                {"correlation", "train", s.correlation.train, Split::train},
                {"correlation", "test", s.correlation.test, Split::test}};
  for (const auto& count : counts) {
    if (std::ranges::find(experiments, count.experiment) == experiments.end()) continue;
    const bool training = count.split == Split::train;
    const std::int64_t most = (training ? study.train : study.test)->size();
    if (count.value <= most) continue;
    const std::string name = fmt::format("{}.{}", count.experiment, count.key);
    const char* images = training ? "training" : "test";
    check(!chosen.value(count.experiment, Json::object()).contains(count.key), name,
          "expected 1 to {} {} images, got {}", most, images, count.value);
    tell("analyze: {} is {}: there are no more {} images", name, most, images);
    count.value = most;
  }
}

Json to_json(const Settings& s) {
  return {{"normality",
           {{"images", s.normality.images},
            {"draws", s.normality.draws},
            {"sigmas", s.normality.sigmas},
            {"expander", s.normality.expander},
            {"second_images", s.normality.second_images}}},
          {"overlap",
           {{"images", s.overlap.images},
            {"queries", s.overlap.queries},
            {"sigmas", s.overlap.sigmas},
            {"quantiles", s.overlap.quantiles}}},
          {"affine", {{"images", s.affine.images}, {"sigmas", s.affine.sigmas}}},
          {"entropy", {{"images", s.entropy.images}}},
          {"bound",
           {{"labelled", s.bound.labelled},
            {"unlabelled", s.bound.unlabelled},
            {"test", s.bound.test}}},
          {"correlation",
           {{"images", s.correlation.images},
            {"train", s.correlation.train},
            {"test", s.correlation.test},
            {"checkpoints", s.correlation.checkpoints}}}};
}

}  // namespace invar::app
