#include <atomic>
#include <invar/ops/cuda/settings.hpp>
#include <mutex>
#include <utility>

namespace invar::cuda {
namespace {

std::atomic<bool> tf32 = false;
std::atomic<bool> deterministic = false;
std::atomic<bool> benchmark = false;
std::mutex choices_mutex;
PlanChoices choices;
std::map<std::string, std::string> without_plan;
std::atomic<std::size_t> workspace = std::size_t{256} << 20;

}  // namespace

void set_allow_tf32(bool on) { tf32 = on; }
bool allow_tf32() { return tf32; }

void use_deterministic_algorithms(bool on) { deterministic = on; }
bool are_deterministic_algorithms_enabled() { return deterministic; }

void set_workspace_limit(std::size_t bytes) { workspace = bytes; }
std::size_t workspace_limit() { return workspace; }

void set_benchmark(bool on) { benchmark = on; }
bool is_benchmark_on() { return benchmark; }

PlanChoices plan_choices() {
  const std::lock_guard lock(choices_mutex);
  return choices;
}

void set_plan_choices(PlanChoices all) {
  const std::lock_guard lock(choices_mutex);
  choices = std::move(all);
}

void add_plan_choice(const std::string& convolution, const std::string& plan) {
  const std::lock_guard lock(choices_mutex);
  choices[convolution] = plan;
}

std::map<std::string, std::string> convolutions_without_plan() {
  const std::lock_guard lock(choices_mutex);
  return without_plan;
}

void add_convolution_without_plan(const std::string& convolution, const std::string& reason) {
  const std::lock_guard lock(choices_mutex);
  without_plan[convolution] = reason;
}

}  // namespace invar::cuda
