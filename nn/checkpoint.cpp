#include <charconv>
#include <cmath>
#include <exception>
#include <invar/core/file.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/nn/checkpoint.hpp>
#include <nlohmann/json.hpp>

namespace invar::nn {
namespace fs = std::filesystem;
namespace {

constexpr const char* kKey = "invar.checkpoint";
constexpr int kVersion = 1;
constexpr std::string_view kEma = "ema/", kOptimizer = "optimizer/";

void add_with_prefix(StateDict& all, std::string_view prefix, const StateDict& part) {
  for (const auto& [name, tensor] : part) all.emplace(std::string(prefix) + name, tensor);
}

/// The JSON that says what the file is.
Json description(const CheckpointParts& parts, const TrainingState& state) {
  Json about = {{"version", kVersion}, {"step", state.step}, {"epoch", state.epoch}};
  // JSON has no NaN; a score that is none is not stored.
  if (state.score && std::isfinite(*state.score)) about["score"] = *state.score;
  if (parts.generator) {
    const GeneratorState generator = parts.generator->state();
    about["generator"] = {{"seed", generator.seed}, {"offset", generator.offset}};
  }
  return about;
}

/// What a file says about itself, checked.
struct About {
  TrainingState state;
  std::optional<GeneratorState> generator;
  std::optional<OptimizerState> optimizer;  ///< without its tensors
};

About read_about(const SafetensorsFile& file) {
  const std::string path = file.path().string();
  const auto found = file.metadata().find(kKey);
  check(found != file.metadata().end(), "checkpoint",
        "expected a checkpoint, got '{}' without \"{}\" in its metadata: weights alone are loaded "
        "with load_state_dict",
        path, kKey);
  const std::string where = fmt::format("checkpoint '{}'", path);
  const Json about = parse_json(found->second, path);
  JsonReader reader(about, where);
  const auto version = reader.require<int>("version");
  check(version == kVersion, "checkpoint", "expected version {} in '{}', got {}", kVersion, path,
        version);
  About out;
  out.state.step = reader.require<std::int64_t>("step");
  out.state.epoch = reader.require<std::int64_t>("epoch");
  check(out.state.step >= 0 && out.state.epoch >= 0, where,
        "expected step and epoch of at least 0, got {} and {}", out.state.step, out.state.epoch);
  if (reader.has("score")) out.state.score = reader.require<double>("score");
  if (reader.has("generator")) {
    const Json json = reader.require<Json>("generator");
    JsonReader generator(json, where);
    out.generator = GeneratorState{generator.require<std::uint64_t>("seed"),
                                   generator.require<std::uint64_t>("offset")};
  }
  if (reader.has("optimizer")) {
    const Json json = reader.require<Json>("optimizer");
    JsonReader optimizer(json, where);
    out.optimizer.emplace();
    out.optimizer->kind = optimizer.require<std::string>("kind");
    const Json numbers = optimizer.require<Json>("numbers");
    check(numbers.is_object(), where, "expected the optimiser's numbers as an object, got {}",
          numbers.type_name());
    JsonReader values(numbers, where);
    for (const auto& [name, value] : numbers.items()) {
      out.optimizer->numbers[name] = values.require<double>(name);
    }
  }
  out.state.metadata = file.metadata();
  out.state.metadata.erase(kKey);
  return out;
}

/// The tensors of one section of a file, without the section's prefix; the model's is "".
StateDict read_section(const SafetensorsFile& file, std::string_view prefix) {
  StateDict state;
  for (const std::string& name : file.names()) {
    const bool belongs =
        prefix.empty() ? name.find('/') == std::string::npos : name.starts_with(prefix);
    if (belongs) state.emplace(name.substr(prefix.size()), file.read(name));
  }
  return state;
}

}  // namespace

void save_checkpoint(const fs::path& path, const CheckpointParts& parts,
                     const TrainingState& state) {
  check(!state.metadata.contains(kKey), "save_checkpoint",
        "expected metadata without the key \"{}\", which the checkpoint uses itself", kKey);
  StateDict tensors;
  Json about = description(parts, state);
  if (parts.model) add_with_prefix(tensors, "", parts.model->state_dict());
  if (parts.ema) add_with_prefix(tensors, kEma, parts.ema->state_dict());
  if (parts.optimizer) {
    const OptimizerState optimizer = parts.optimizer->state_dict();
    for (const auto& [name, value] : optimizer.numbers) {
      check(std::isfinite(value), "save_checkpoint",
            "expected finite numbers of the optimiser, got {} for '{}'", value, name);
    }
    add_with_prefix(tensors, kOptimizer, optimizer.tensors);
    about["optimizer"] = {{"kind", optimizer.kind}, {"numbers", optimizer.numbers}};
  }
  Metadata metadata = state.metadata;
  metadata[kKey] = about.dump();
  write_safetensors(path, tensors, metadata);
}

TrainingState load_checkpoint(const fs::path& path, const CheckpointParts& parts) {
  const SafetensorsFile file(path);
  About about = read_about(file);
  StateDict model, ema;
  if (parts.model) model = read_section(file, "");
  if (parts.ema) ema = read_section(file, kEma);
  check(!parts.generator || about.generator, "load_checkpoint",
        "expected the state of a generator in '{}', got none", path.string());
  check(!parts.optimizer || about.optimizer, "load_checkpoint",
        "expected the state of an optimiser in '{}', got none", path.string());
  if (parts.optimizer) about.optimizer->tensors = read_section(file, kOptimizer);

  // Everything is checked before anything is changed.
  try {
    if (parts.model) parts.model->check_state_dict(model);
    if (parts.ema) parts.ema->check_state_dict(ema);
    if (parts.optimizer) parts.optimizer->check_state_dict(*about.optimizer);
  } catch (const Error& error) {
    fail("load_checkpoint", "expected '{}' to fit: {}", path.string(), error.what());
  }

  if (parts.model) parts.model->load_state_dict(model);
  if (parts.ema) parts.ema->load_state_dict(ema);
  if (parts.optimizer) parts.optimizer->load_state_dict(*about.optimizer);
  if (parts.generator) parts.generator->set_state(*about.generator);
  return about.state;
}

TrainingState read_training_state(const fs::path& path) {
  return read_about(SafetensorsFile(path)).state;
}

StateDict read_model(const fs::path& path, bool ema) {
  const SafetensorsFile file(path);
  StateDict state = read_section(file, ema ? kEma : std::string_view());
  check(!state.empty(), "read_model", "expected {} in '{}', got none",
        ema ? "an averaged model (tensors named \"ema/...\")" : "a model", path.string());
  return state;
}

// --- a folder of checkpoints -------------------------------------------------------------------

namespace {

constexpr std::string_view kStep = "step-", kSuffix = ".safetensors";
constexpr const char* kBest = "best.safetensors";

std::string step_name(std::int64_t step) { return fmt::format("{}{:09}{}", kStep, step, kSuffix); }

/// 12000 of "step-000012000.safetensors"; nullopt for any other name.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStep)) return std::nullopt;
  std::int64_t step = 0;
  std::from_chars(name.data() + kStep.size(), name.data() + name.size(), step);
  if (step < 0 || name != step_name(step)) return std::nullopt;
  return step;
}

}  // namespace

CheckpointFolder::CheckpointFolder(fs::path folder, int keep_last)
    : folder_(std::move(folder)), keep_last_(keep_last) {
  check(keep_last >= 1, "CheckpointFolder", "expected to keep at least one checkpoint, got {}",
        keep_last);
}

std::map<std::int64_t, fs::path> CheckpointFolder::steps() const {
  std::map<std::int64_t, fs::path> found;
  for (const fs::path& path : paths_in(folder_)) {
    const auto step = step_of(path.filename().string());
    if (step && fs::is_regular_file(path)) found[*step] = path;
  }
  return found;
}

std::optional<fs::path> CheckpointFolder::latest() const {
  const auto all = steps();
  if (all.empty()) return std::nullopt;
  return all.rbegin()->second;
}

std::optional<fs::path> CheckpointFolder::best() const {
  fs::path path = folder_ / kBest;
  if (!fs::exists(path)) return std::nullopt;
  return path;
}

void CheckpointFolder::save(const CheckpointParts& parts, const TrainingState& state) const {
  check(state.step >= 0, "CheckpointFolder", "expected a step of at least 0, got {}", state.step);
  create_folder("CheckpointFolder", folder_);
  remove_leftovers(folder_, [](std::string_view name) { return name == kBest || step_of(name); });
  // The best one first: a process that is killed between the two goes on from an earlier step,
  // comes here again and finds it saved.
  std::exception_ptr no_best;  // a best one that cannot be read must not cost the step as well
  if (state.score && std::isfinite(*state.score)) {  // others say nothing, and are not stored
    try {
      const auto old = best();
      const std::optional<double> record = old ? read_training_state(*old).score : std::nullopt;
      if (!record || *state.score > *record) save_checkpoint(folder_ / kBest, parts, state);
    } catch (const Error&) {
      no_best = std::current_exception();
    }
  }
  save_checkpoint(folder_ / step_name(state.step), parts, state);
  if (no_best) std::rethrow_exception(no_best);

  std::error_code ignored;  // what cannot be removed now is removed next time
  // Later steps than this one are not ours to judge: somebody went back to an earlier checkpoint.
  auto kept = steps();
  kept.erase(kept.upper_bound(state.step), kept.end());
  while (kept.size() > static_cast<std::size_t>(keep_last_)) {
    fs::remove(kept.begin()->second, ignored);
    kept.erase(kept.begin());
  }
}

}  // namespace invar::nn
