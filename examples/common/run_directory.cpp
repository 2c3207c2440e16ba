#include "run_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <invar/core/file.hpp>
#include <invar/core/version.hpp>
#include <invar/ops/machine.hpp>

namespace invar::app {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMetrics = "metrics.jsonl";

/// Writes all of `text` at the end of the file.
void append(const fs::path& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  check(file >= 0, "run", "expected to open '{}', got \"{}\"", path.string(), std::strerror(errno));
  std::size_t written = 0;
  int error = 0;
  while (written < text.size() && error == 0) {
    const ssize_t n = ::write(file, text.data() + written, text.size() - written);
    if (n >= 0) {
      written += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  ::close(file);
  check(error == 0, "run", "expected to write '{}', got \"{}\"", path.string(),
        std::strerror(error));
}

/// Error if there is a run already.
void check_new(const fs::path& path) {
  std::error_code unknown;  // told by whoever makes the folder
  for (const char* part : {"config.json", "checkpoints", kMetrics}) {
    check(
        !fs::exists(path / part, unknown), "run",
        "expected a folder without a run, got '{}' with '{}': continue it with --resume, or choose "
        "another --out",
        path.string(), part);
  }
}

}  // namespace

RunDirectory::RunDirectory(fs::path path, Json config)
    : path_(std::move(path)), config_(std::move(config)) {}

RunDirectory RunDirectory::create(const fs::path& path, const Json& config) {
  check_new(path);
  return RunDirectory(path, config);
}

void RunDirectory::lock() {
  const int folder = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check(folder >= 0, "run", "expected to open '{}', got \"{}\"", path_.string(),
        std::strerror(errno));
  lock_ = {new int(folder), [](const int* descriptor) {
             ::close(*descriptor);
             delete descriptor;
           }};
  // Some network file systems have no locks: only a lock that somebody else holds is an error.
  check(::flock(folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, "run",
        "expected '{}' for this process alone, got another one that trains there", path_.string());
}

void RunDirectory::start() {
  create_folder("run", path_);
  lock();
  check_new(path_);  // another process may have begun and ended since
  write_json("config.json", config_);
  create_folder("run", checkpoints());
}

RunDirectory RunDirectory::open(const fs::path& path) {
  std::error_code unknown;
  check(fs::exists(path / "config.json", unknown), "run",
        "expected a run to resume in '{}', got no config.json there: start it without --resume",
        path.string());
  RunDirectory run(path, read_json(path / "config.json"));
  run.lock();
  create_folder("run", run.checkpoints());
  remove_leftovers(path, [](std::string_view name) {
    constexpr std::string_view own[] = {"config.json", "environment.json", kMetrics,
                                        "encoder.safetensors", "result.json"};
    return std::find(std::begin(own), std::end(own), name) != std::end(own);
  });
  return run;
}

void RunDirectory::log(const Json& line) { append(path_ / kMetrics, line.dump() + "\n"); }

void RunDirectory::sync_metrics() const {
  const int file = ::open((path_ / kMetrics).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return;
  const bool synced = file >= 0 && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  check(synced, "run", "expected to flush '{}', got \"{}\"", (path_ / kMetrics).string(),
        std::strerror(error));
}

void RunDirectory::cut_metrics(std::int64_t last_step) {
  if (!fs::exists(path_ / kMetrics)) return;
  std::string kept;
  const std::string text = read_file(path_ / kMetrics);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const std::string line = text.substr(at, end - at);
    const Json parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    check(parsed.is_object() && parsed.contains("step") && parsed["step"].is_number_integer(),
          "run",
          "expected a JSON object with \"step\" in every line of '{}', got {}: remove that line",
          (path_ / kMetrics).string(), line.substr(0, 60));
    if (parsed["step"].get<std::int64_t>() <= last_step) kept += line + "\n";
    at = end + 1;
  }
  write_file_atomically(path_ / kMetrics, kept);
}

std::vector<std::string> RunDirectory::record_environment(Device device) const {
  const Machine here = machine();
  Json now = {{"invar", version()},
              {"processor", here.processor},
              {"instruction_set", here.instruction_set},
              {"own_kernels", here.own_kernels},
              {"onednn", here.onednn},
              {"openblas", here.openblas},
              {"threads", here.threads}};
  if (device.type == DeviceType::cuda) now["gpu"] = describe_gpu(device);
  std::vector<std::string> differences;
  if (fs::exists(path_ / "environment.json")) {
    const Json before = read_json(path_ / "environment.json");
    check(before.is_object(), "run", "expected a JSON object in '{}'",
          (path_ / "environment.json").string());
    for (const auto& [key, value] : now.items()) {
      if (before.value(key, Json()) != value) {
        differences.push_back(fmt::format("{}: {} instead of {}", key, value.dump(),
                                          before.value(key, Json()).dump()));
      }
    }
  }
  write_json("environment.json", now);
  return differences;
}

void RunDirectory::write_json(const char* name, const Json& json) const {
  write_file_atomically(path_ / name, json.dump(2) + "\n");
}

Json read_json(const fs::path& path) { return parse_json(read_file(path), path.string()); }

void check_utf8(const char* option, const std::string& text) {
  try {
    Json(text).dump();
  } catch (const Json::type_error&) {
    fail(option, "expected UTF-8, got other bytes in {}", text);
  }
}

void apply_override(Json& config, const std::string& assignment) {
  check_utf8("--set", assignment);
  const std::size_t equals = assignment.find('=');
  check(equals != std::string::npos && equals > 0, "--set", "expected key=value, got \"{}\"",
        assignment);
  const std::string value = assignment.substr(equals + 1);
  Json* at = &config;
  std::string path = assignment.substr(0, equals);
  for (std::size_t from = 0; from <= path.size();) {
    const std::size_t dot = std::min(path.find('.', from), path.size());
    const std::string key = path.substr(from, dot - from);
    check(!key.empty() && (at->is_object() || at->is_null()), "--set",
          "expected a path of keys like training.epochs, got \"{}\"", path);
    at = &(*at)[key];
    from = dot + 1;
  }
  *at = Json::accept(value) ? parse_json(value, path) : Json(value);
}

std::string seed_error(const std::string& text) {
  std::uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, seed);
  if (read.ec == std::errc() && read.ptr == end) return {};
  return fmt::format("expected an integer from 0 to 2^64 - 1, got {}", text);
}

void check_writable(const char* option, const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  check(fs::is_directory(folder), option, "expected a file in a folder that exists, got '{}'",
        file.string());
  check(::access(folder.c_str(), W_OK) == 0 && !fs::is_directory(file), option,
        "expected a file that can be written, got '{}'", file.string());
}

}  // namespace invar::app
