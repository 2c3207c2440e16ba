#include "measurements.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <set>
#include <utility>

#include "../common/process.hpp"

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
  const Json all_settings = to_json(settings);
  const Json here = {{"data", study.data},
                     {"test_view", study.test_view},
                     {"views", study.views},
                     {"seed", study.seed}};
  std::set<std::string> taken;
  std::vector<fs::path> files;
  // What is known of each network is looked at before any is measured.
  for (Subject& subject : study.subjects) {
    files.push_back(folder / file_name(subject, taken));
    if (resume && subject.measured.empty() && fs::exists(files.back())) {
      Subject known = read_measured(files.back());
      check(known.name == subject.name && known.group == subject.group &&
                known.config == subject.config && known.saved == subject.saved &&
                known.ended == subject.ended,
            "--resume",
            "expected '{}' to be of {} '{}' as it is now, got {} '{}' of another configuration or "
            "state: remove the file or give another --out",
            files.back().string(), subject.group, subject.name, known.group, known.name);
      subject.measured = std::move(known.measured);
      subject.measured_in = std::move(known.measured_in);
    }
    for (const std::string& name : experiments) {
      if (study_experiment(name).measure && subject.measured.contains(name)) {
        check_measured(subject, here, name, all_settings[name]);
      }
    }
  }
  for (const std::string& name : experiments) {
    const bool known = std::ranges::any_of(study.subjects, [&](const Subject& subject) {
      return subject.encoder || subject.measured.contains(name);
    });
    check(known || !study_experiment(name).measure, "analyze",
          "expected {} of at least one network, got files without it: give a network itself, or "
          "the --experiments that were made",
          name);
  }

  create_folder("analyze", folder);
  for (std::size_t i = 0; i < files.size(); ++i) {
    Subject& subject = study.subjects[i];
    bool told = false;
    for (const std::string& name : experiments) {
      const StudyExperiment& experiment = study_experiment(name);
      if (!experiment.measure || subject.measured.contains(name) || !subject.encoder) continue;
      if (!std::exchange(told, true)) {
        tell("{}: {} ({} of {})", subject.group, subject.name, i + 1, files.size());
      }
      subject.measured[name] = {{"settings", all_settings[name]},
                                {"rows", experiment.measure(study, subject, settings)}};
      subject.measured_in = here;
      write_measured(subject, files[i]);
    }
    if (!told) write_measured(subject, files[i]);
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
  return all;
}

}  // namespace invar::app
