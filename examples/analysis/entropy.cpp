#include <algorithm>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/progress.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <map>
#include <set>

#include "experiments.hpp"
#include "tables.hpp"

namespace invar::app {
namespace {

using Key = std::pair<std::string, std::string>;  // output, form

/// The entropy of the mixture and what encloses it, as a figure's title calls them.
const std::pair<const char*, const char*> kEstimates[] = {
    {"upper", "upper bound"}, {"mixture", "Monte Carlo"}, {"lower", "lower bound"}};

/// The rows without the mixture's where it is lacking of a network (measured before there was any).
Json comparable(const Json& rows) {
  std::map<std::string, bool> has_mixture;
  for (const Json& row : rows) has_mixture[row.at("network")] |= row.at("bound") == "mixture";
  if (std::all_of(has_mixture.begin(), has_mixture.end(), [](const auto& of) { return of.second; }))
    return rows;
  Json kept = Json::array();
  for (const Json& row : rows) {
    if (row.at("bound") != "mixture") kept.push_back(row);
  }
  return kept;
}

/// The rows of steps that all networks of their group have: a run that was ended and resumed has
/// a checkpoint of its own, whose mean would be that of one network.
Json shared_steps(const Json& rows) {
  std::map<std::string, std::set<std::string>> networks;  // by group
  std::map<std::pair<std::string, std::int64_t>, std::set<std::string>> at;
  for (const Json& row : rows) {
    networks[row.at("group")].insert(row.at("network"));
    at[{row.at("group"), row.at("step")}].insert(row.at("network"));
  }
  Json kept = Json::array();
  for (const Json& row : rows) {
    if (at[{row.at("group"), row.at("step")}] == networks[row.at("group")]) kept.push_back(row);
  }
  return kept;
}

/// Both outputs in both forms.
std::map<Key, Tensor> embeddings(const NetworkPair& networks, const Tensor& images) {
  std::map<Key, Tensor> result;
  const Tensor features = apply_in_chunks(networks.encoder, images);
  for (const auto& [output, z] :
       {std::pair{"encoder", features},
        std::pair{"expander", apply_in_chunks(networks.expander, features)}}) {
    result[{output, "raw"}] = z;
    result[{output, "normalised"}] = ssl::rows_of_unit_variance(z);
  }
  return result;
}

}  // namespace

Json measure_entropy(const Study& study, const Subject& subject, const EntropySettings& settings) {
  NoGrad guard;
  Json rows = Json::array();
  if (subject.checkpoints.empty()) return rows;
  const Tensor images = study.images(Split::test, settings.images).pixels;
  std::map<Key, double> s2;
  for (const auto& [key, z] : embeddings(study.untrained(0), images)) {
    s2[key] = ssl::pairwise_s2(z, ssl::PairwiseBound::upper);
  }
  Progress progress("entropy", "checkpoints",
                    static_cast<std::int64_t>(subject.checkpoints.size()));
  std::int64_t done = 0;
  for (const auto& [step, path] : subject.checkpoints) {
    for (const auto& [key, z] : embeddings(load_pair(path, study.device), images)) {
      Generator generator(seed_for(study.seed, Purpose::entropy, 0));
      const Tensor noise = to(randn(z.shape(), {}, generator), study.device);
      for (const auto& [name, information] :
           {std::pair{"upper", ssl::pairwise_information(z, s2[key], ssl::PairwiseBound::upper)},
            std::pair{"mixture", ssl::mixture_information(z, s2[key], noise)},
            std::pair{"lower", ssl::pairwise_information(z, s2[key], ssl::PairwiseBound::lower)}}) {
        rows.push_back({{"output", key.first},
                        {"form", key.second},
                        {"bound", name},
                        {"step", step},
                        {"s2", s2[key]},
                        {"dimensions", z.size(1)},
                        {"information", information.item()}});
      }
    }
    progress.update(++done);
  }
  progress.finish();
  return rows;
}

Json report_entropy(const Study& study, const Json& measured, const EntropySettings& settings) {
  const Json rows = comparable(measured);
  check(!rows.empty(), "entropy",
        "expected run directories with checkpoints, got none: give the folders that pretrain "
        "made, trained with a large \"checkpoints.keep\"");
  std::map<Key, Json> scale;           // what was fixed, of the first network
  std::map<std::string, Json> newest;  // step by network
  for (const Json& row : rows) {
    const Key key = {row.at("output"), row.at("form")};
    const Json& first = scale.try_emplace(key, row).first->second;
    check(row.at("dimensions") == first.at("dimensions"), "entropy",
          "expected {} outputs of one width, got {} and {} in '{}': entropies of different "
          "dimensions cannot be compared",
          key.first, first.at("dimensions").dump(), row.at("dimensions").dump(),
          row.at("network").get<std::string>());
    // Rounding differs from processor to processor.
    check(std::abs(row.at("s2").get<double>() / first.at("s2").get<double>() - 1) < 1e-3, "entropy",
          "expected one s2 of {} outputs for the whole study, got {} and {} in '{}': measure these "
          "networks together, the same one first",
          key.first, first.at("s2").dump(), row.at("s2").dump(),
          row.at("network").get<std::string>());
    newest[row.at("network")] = row.at("step");  // checkpoints are in order
  }
  Json last = Json::array();
  for (const Json& row : rows) {
    if (row.at("step") == newest[row.at("network")]) last.push_back(row);
  }
  const Json shared = shared_steps(rows);
  const Names variant = {"output", "form", "bound"};
  Json scales = Json::array(), figures = Json::array();
  for (const auto& [key, row] : scale) {
    scales.push_back({{"output", key.first},
                      {"form", key.second},
                      {"s2", row.at("s2")},
                      {"dimensions", row.at("dimensions")},
                      {"images", settings.images},
                      {"log_n", std::log(static_cast<double>(settings.images))}});
    for (const auto& [name, title] : kEstimates) {
      const Json shown =
          where(shared, {{"output", key.first}, {"form", key.second}, {"bound", name}});
      if (shown.empty()) continue;
      figures.push_back(
          lines(fmt::format("entropy-{}-{}-{}", key.first, key.second, name),
                fmt::format("Entropy of {} outputs, {}, {}", key.first, key.second, title),
                group_means(shown, {"step"}, "information"),
                {.x = "step", .x_label = "step", .y_label = "H - d/2 log(2 pi e s2), nats"}));
    }
  }
  Names with_step = variant;
  with_step.push_back("step");
  return {
      {"notes",
       {"Differential entropy moves by d log a when outputs are scaled by a, so the order of raw "
        "outputs is one of scales: a verdict is given per variant. Values are in [0, log n].",
        "s2 is fixed for the whole study by one untrained network. Networks are the trained "
        "encoder and expander of each checkpoint, not their average.",
        "upper and lower enclose the entropy of the mixture of Gaussians around the outputs; "
        "mixture is that entropy itself, by one draw of each Gaussian (left out where it was not "
        "measured of every network)."}},
      {"tables",
       {table("verdicts", "at the last checkpoint, group a less group b",
              comparisons(last, study.trained_groups(), variant, "information")),
        table("last checkpoint", "mean over a group's networks",
              group_means(last, variant, "information")),
        table("scales", "what was fixed", scales),
        table("along training", "mean over a group's networks, at steps that all of them have",
              group_means(shared, with_step, "information")),
        table("networks", "every checkpoint", rows)}},
      {"figures", figures}};
}

}  // namespace invar::app
