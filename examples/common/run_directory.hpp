#pragma once
// RunDirectory: what a training run leaves on disk.
//
//   DIR/config.json        the complete configuration: with it, the run can be repeated
//   DIR/environment.json   machine, versions, threads; written anew at each start
//   DIR/metrics.jsonl      one JSON object per logged step or evaluation, as they happened
//   DIR/checkpoints/       the last few and the best (nn/checkpoint.hpp)
//   DIR/encoder.safetensors  the trained encoder under torchvision's names
//   DIR/result.json        the final evaluation
//
// Every file but metrics.jsonl is replaced atomically. metrics.jsonl is only appended to, and cut
// back to the checkpoint when a run resumes, so that it reads as if the run had never stopped.
#include <cstdint>
#include <filesystem>
#include <invar/core/device.hpp>
#include <invar/core/json_reader.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace invar::app {

class RunDirectory {
 public:
  /// A new run; Error if the directory holds one already. Nothing is written before start().
  static RunDirectory create(const std::filesystem::path& path, const Json& config);
  /// An existing run, to go on with it; Error if there is none, or another process has it. Removes
  /// the temporary files that a killed process left.
  static RunDirectory open(const std::filesystem::path& path);

  /// Makes the directory of a new run, with its config.json.
  void start();

  const std::filesystem::path& path() const { return path_; }
  const Json& config() const { return config_; }

  /// Adds a line; it is in the file when this returns.
  void log(const Json& line);
  /// Has the lines survive a power failure: before a checkpoint that counts on them.
  void sync_metrics() const;
  /// Removes every line whose "step" is larger, and an incomplete last line.
  void cut_metrics(std::int64_t last_step);

  /// Where nn::CheckpointFolder keeps its files.
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  /// Writes environment.json; returns what differs from the one before that may change results
  /// (processor, threads, versions, the GPU if `device` is one), for a warning.
  std::vector<std::string> record_environment(Device device) const;

  void write_json(const char* name, const Json& json) const;

 private:
  RunDirectory(std::filesystem::path path, Json config);
  /// Keeps other processes out, until the last copy of this object or the process is gone.
  void lock();

  std::filesystem::path path_;
  Json config_;
  std::shared_ptr<const int> lock_;  ///< a descriptor of the directory
};

/// Reads a JSON file (comments allowed); Error naming file, line and column if it is not JSON.
Json read_json(const std::filesystem::path& path);

/// Error, opened by the option's name, if the text cannot stand in a JSON file.
void check_utf8(const char* option, const std::string& text);

/// Sets `path` ("training.epochs") to a value given as text: JSON where it parses, else a string.
void apply_override(Json& config, const std::string& assignment);

/// What is wrong with the text of an option --seed; empty if nothing is. As CLI11 asks for it,
/// which takes -1 for 2^64 - 1.
std::string seed_error(const std::string& text);

/// Error, opened by the option's name, if the file cannot be made: to be asked before the work.
void check_writable(const char* option, const std::filesystem::path& file);

}  // namespace invar::app
