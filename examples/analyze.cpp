// analyze: the experiments of docs/paper.md on trained networks.
//
//   analyze --group vicreg=runs/v0,runs/v1 --group simclr=runs/s0,runs/s1 --out analysis
//   analyze --group runs/first --experiments normality,affine --set normality.draws=[512,128]
//   analyze --group 'runs/grid/*-seed[0-9]' --protocol paper --out analysis
//
// A path is a run directory, an encoder, a checkpoint, or what an earlier analysis has kept of a
// network (networks/*.json), or a pattern of such; members of a group are training seeds.
// Writes networks/*.json (what was measured, network by network; --resume goes on from there),
// analysis.json (settings, tables, figures as data), one SVG per figure, and index.html, which
// holds all of it. The same networks, data, settings and seed give the same bytes.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <invar/core/file.hpp>
#include <invar/core/version.hpp>
#include <invar/ops/machine.hpp>

#include "analysis/experiments.hpp"
#include "analysis/measurements.hpp"
#include "analysis/page.hpp"
#include "analysis/tables.hpp"
#include "common/process.hpp"
#include "common/run_directory.hpp"

using namespace invar;

namespace {

Json networks(const app::Study& study) {
  Json rows = Json::array();
  for (const app::Subject& subject : study.subjects) {
    rows.push_back({{"group", subject.group},
                    {"network", subject.name},
                    {"seed", subject.trained ? subject.config.value("seed", Json()) : Json()},
                    {"checkpoints", subject.saved},
                    {"ended", subject.ended},
                    {"expander", subject.has_expander}});
  }
  return rows;
}

void analyze(const app::StudyOptions& options, const std::vector<std::string>& experiments,
             app::Settings settings, const Json& chosen, const std::filesystem::path& out,
             bool resume) {
  for (const char* part : {"analysis.json", "networks"}) {
    check(
        resume || !std::filesystem::exists(out / part), "analyze",
        "expected a folder without an analysis, got '{}' with '{}': complete it with --resume, or "
        "choose another --out",
        out.string(), part);
  }
  for (const std::string& group : options.groups) app::check_utf8("--group", group);
  app::Study study(options);
  app::fit_counts(settings, chosen, experiments, study);
  app::measure(study, experiments, settings, out / "networks", resume);
  Json analysis = {{"invar", version()},
                   {"data", study.data},
                   {"test_view", study.test_view},
                   {"seed", study.seed},
                   {"settings", app::to_json(settings)},
                   {"networks", networks(study)},
                   {"experiments", Json::array()}};
  for (const std::string& name : experiments) {
    const app::StudyExperiment& experiment = app::study_experiment(name);
    app::MeasuredRows known;
    if (experiment.measure) known = app::collect(study, name);
    Json result = experiment.report(study, known.rows, settings);
    result["name"] = name;
    if (!known.lacking.empty()) {
      result["notes"].push_back(fmt::format("Not measured: {}.", fmt::join(known.lacking, ", ")));
    }
    for (const Json& figure : result["figures"]) {
      write_file_atomically(out / (figure["name"].get<std::string>() + ".svg"),
                            app::to_svg(figure));
    }
    analysis["experiments"].push_back(result);
  }
  write_file_atomically(out / "analysis.json", analysis.dump(1) + "\n");
  write_file_atomically(out / "index.html", app::to_html(analysis));
  fmt::print("wrote {}\n", (out / "index.html").string());
}

}  // namespace

int main(int argc, char** argv) {
  app::settle_process();
  CLI::App cli("The experiments of docs/paper.md on trained networks.");
  app::StudyOptions options;
  options.controls = {"untrained", "linear"};
  std::vector<std::string> experiments, overrides;
  for (const app::StudyExperiment& experiment : app::study_experiments()) {
    experiments.push_back(experiment.name);
  }
  std::string out = "analysis", protocol = "quick", device = "cpu";
  bool no_controls = false, resume = false;
  cli.set_version_flag("--version", std::string(version()));
  cli.add_option(
         "--group", options.groups,
         "NAME=PATH,PATH: run directories, encoders, checkpoints or kept networks/*.json of "
         "one method, one per seed, or patterns of such; without NAME=, grouped by objective")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  cli.add_option("--out", out, "folder for the results")->capture_default_str();
  cli.add_flag("--resume", resume, "measure only what the folder does not hold yet");
  cli.add_option("--experiments", experiments,
                 "of normality, overlap, affine, entropy, bound, correlation; default: all")
      ->delimiter(',');
  cli.add_option("--protocol", protocol, "quick (minutes) or paper (as docs/paper.md says)")
      ->check(CLI::IsMember({"quick", "paper"}))
      ->capture_default_str();
  cli.add_option("--set", overrides, "override a setting: normality.draws=[512]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  cli.add_option("--data", options.data, "data set as JSON; default: the first network's");
  cli.add_option("--controls", options.controls, "untrained, linear")->delimiter(',');
  cli.add_flag("--no-controls", no_controls, "no networks beside those given");
  cli.add_option("--control-seeds", options.control_seeds, "networks per control")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  cli.add_option("--device", device, "of the networks: cpu, cuda or cuda:N")->capture_default_str();
  cli.add_option("--seed", options.seed, "of noise, order of images and controls")
      ->check(app::seed_error)
      ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  try {
    options.device = app::usable_device(device);
    if (const std::string advice = openblas_advice(); !advice.empty()) {
      app::tell("analyze: {}", advice);
    }
    if (no_controls) options.controls.clear();
    for (const std::string& name : experiments) app::study_experiment(name);
    Json json = protocol == "paper" ? app::paper_settings() : Json::object();
    Json chosen = Json::object();
    for (const std::string& assignment : overrides) {
      app::apply_override(json, assignment);
      app::apply_override(chosen, assignment);
    }
    analyze(options, experiments, app::read_settings(json), chosen, out, resume);
  } catch (const std::exception& error) {
    app::tell("analyze: {}", error.what());
    return 1;
  }
}
