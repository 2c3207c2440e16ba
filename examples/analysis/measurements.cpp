#include "measurements.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <invar/core/error.hpp>
#include <set>
#include <utility>

namespace invar::app {
namespace fs = std::filesystem;
namespace {

/// "runs/grid/vicreg-seed0" -> vicreg-seed0, "runs/v0/encoder.safetensors" -> v0-encoder,
/// "untrained 0" -> untrained-0; with a number behind it if there was such a name before.
std::string file_name(const Subject& subject, std::set<std::string>& taken) {
  const fs::path path = subject.name;
  std::string name = path.has_filename() ? path.filename() : path.parent_path().filename();
  if (path.extension() == ".safetensors") {
    name = path.stem();
    if (path.has_parent_path()) name = path.parent_path().filename().string() + "-" + name;
  }
  std::ranges::replace(name, ' ', '-');
  const std::string first = name;
  for (int i = 2; !taken.insert(name).second; ++i) name = fmt::format("{}-{}", first, i);
  return name + ".json";
}

void check_measured(const Subject& subject, const Json& study, const std::string& experiment,
                    const Json& settings) {
  check(subject.measured_in == study, "analyze",
        "expected '{}' measured on {}, got {}: give the same data and --seed, or measure it again",
        subject.name, study.dump(), subject.measured_in.dump());
  const Json& found = subject.measured.at(experiment).at("settings");
  check(found == settings, "analyze",
        "expected {} of '{}' measured with {}, got {}: give the same --protocol and --set, or "
        "measure it again",
        experiment, subject.name, settings.dump(), found.dump());
}

}  // namespace

void measure(Study& study, const std::vector<std::string>& experiments, const Settings& settings,
             const fs::path& folder, bool resume) {
  std::error_code error;
  fs::create_directories(folder, error);
  check(!error, "analyze", "expected to create the folder '{}', got \"{}\"", folder.string(),
        error.message());
  const Json all_settings = to_json(settings);
  const Json here = {{"data", study.data},
                     {"test_view", study.test_view},
                     {"views", study.views},
                     {"seed", study.seed}};
  std::set<std::string> taken;
  std::size_t number = 0;
  for (Subject& subject : study.subjects) {
    const fs::path file = folder / file_name(subject, taken);
    ++number;
    if (resume && subject.measured.empty() && fs::exists(file)) {
      Subject known = read_measured(file);
      check(known.name == subject.name && known.group == subject.group &&
                known.config == subject.config && known.saved == subject.saved &&
                known.ended == subject.ended,
            "--resume",
            "expected '{}' to be of {} '{}' as it is now, got {} '{}' of another configuration or "
            "state: remove the file or give another --out",
            file.string(), subject.group, subject.name, known.group, known.name);
      subject.measured = std::move(known.measured);
      subject.measured_in = std::move(known.measured_in);
    }
    bool told = false;
    for (const std::string& name : experiments) {
      const StudyExperiment& experiment = study_experiment(name);
      if (!experiment.measure) continue;
      if (subject.measured.contains(name)) {
        check_measured(subject, here, name, all_settings[name]);
        continue;
      }
      if (!subject.encoder) continue;
      if (!std::exchange(told, true)) {
        fmt::print(stderr, "{}: {} ({} of {})\n", subject.group, subject.name, number,
                   study.subjects.size());
      }
      subject.measured[name] = {{"settings", all_settings[name]},
                                {"rows", experiment.measure(study, subject, settings)}};
      subject.measured_in = here;
      write_measured(subject, file);
    }
    if (!told) write_measured(subject, file);
  }
}

MeasuredRows collect(const Study& study, const std::string& experiment) {
  MeasuredRows all;
  for (const Subject& subject : study.subjects) {
    if (!subject.measured.contains(experiment)) {
      all.lacking.push_back(subject.name);
      continue;
    }
    for (Json row : subject.measured[experiment].at("rows")) {
      row["group"] = subject.group;
      row["network"] = subject.name;
      all.rows.push_back(std::move(row));
    }
  }
  check(all.lacking.size() < study.subjects.size(), "analyze",
        "expected {} of at least one network, got files without it: give a network itself, or the "
        "--experiments that were made",
        experiment);
  return all;
}

}  // namespace invar::app
