#pragma once
// Measurements: what is known of single networks, one small file for each.
//
//   Study ---- measure ----> DIR/networks/<network>.json ---- collect ----> rows of all networks
//
// A long analysis that was ended goes on from these files, networks can be added to it later, and
// intervals and tests are made over networks that are on this machine no more: their files stand in
// for them (study.hpp). They hold
//
//   {"study": {"data", "test_view", "views", "seed"},   equal for all networks of an analysis
//    "network": {"group", "name", "trained", "ended", "expander", "checkpoints"}, "config": {..},
//    "measured": {"normality": {"settings": {..}, "rows": [{"sigma": 0.1, ..}, ..]}, ..}}
#include <filesystem>
#include <invar/core/json_reader.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments.hpp"
#include "study.hpp"

namespace invar::app {

/// Does the experiments that were not done before on every network that is there, and keeps each
/// network's file in `folder` up to date. `resume`: what the file says already is taken over. Error
/// for a network that was measured in another study or with other settings.
void measure(Study& study, const std::vector<std::string>& experiments, const Settings& settings,
             const std::filesystem::path& folder, bool resume);

struct MeasuredRows {
  Json rows = Json::array();         ///< of all networks, each with its "group" and "network"
  std::vector<std::string> lacking;  ///< networks whose files know nothing of the experiment
};
/// What is known from an experiment.
MeasuredRows collect(const Study& study, const std::string& experiment);

}  // namespace invar::app
