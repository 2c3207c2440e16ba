#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <invar/core/scoped_value.hpp>
#include <invar/ops/conv_choices.hpp>
#include <memory>

namespace invar {
namespace {

/// Null: none. Replaced as a whole, never changed: a convolution that looks it up while another
/// thread sets new ones sees the old or the new.
std::atomic<std::shared_ptr<const ConvChoices>> choices_in_use;

// Of the tune_convolutions that is running: what it has found, and what it wants right now.
std::vector<ConvTiming>* timings = nullptr;
ConvAlgorithm wanted = ConvAlgorithm::automatic;

double milliseconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

void set_conv_choices(ConvChoices choices) {
  for (const ConvChoice& c : choices) {
    check(c.algorithm != ConvAlgorithm::automatic, "set_conv_choices",
          "expected direct or winograd for input {}, weight {}, got automatic: leave it out",
          c.problem.input, c.problem.weight);
  }
  choices_in_use =
      choices.empty() ? nullptr : std::make_shared<const ConvChoices>(std::move(choices));
}

ConvChoices conv_choices() {
  const auto choices = choices_in_use.load();
  return choices ? *choices : ConvChoices{};
}

ConvAlgorithm conv_algorithm(const ConvProblem& problem) {
  if (wanted != ConvAlgorithm::automatic) return wanted;
  const ConvAlgorithm algorithm = conv_algorithm();
  if (algorithm != ConvAlgorithm::automatic) return algorithm;
  if (const auto choices = choices_in_use.load()) {
    for (const ConvChoice& c : *choices) {
      if (c.problem == problem) return c.algorithm;
    }
  }
  return ConvAlgorithm::automatic;
}

std::vector<ConvTiming> tune_convolutions(const std::function<void()>& f) {
  check(conv_algorithm() == ConvAlgorithm::automatic, "tune_convolutions",
        "expected the algorithm to be automatic, got one that leaves no choice");
  std::vector<ConvTiming> found;
  {
    const ScopedValue tuning(timings, &found);
    f();
  }
  ConvChoices choices;
  for (const ConvTiming& timing : found) choices.push_back(timing.choice);
  set_conv_choices(std::move(choices));
  return found;
}

void time_if_tuning(const ConvProblem& problem, const std::function<void()>& run) {
  if (!timings || wanted != ConvAlgorithm::automatic) return;
  const auto is_known = [&](const ConvTiming& t) { return t.choice.problem == problem; };
  if (std::ranges::any_of(*timings, is_known)) return;
  constexpr std::size_t kRounds = 7;
  std::array<double, kRounds> direct{}, winograd{};
  const auto time_both = [&](double& direct_ms, double& winograd_ms) {
    for (const auto& [algorithm, ms] : {std::pair(ConvAlgorithm::direct, &direct_ms),
                                        std::pair(ConvAlgorithm::winograd, &winograd_ms)}) {
      const ScopedValue chosen(wanted, algorithm);
      *ms = milliseconds_of(run);
    }
  };
  time_both(direct[0], winograd[0]);  // makes what is made once
  for (std::size_t i = 0; i < kRounds; ++i) time_both(direct[i], winograd[i]);
  std::ranges::sort(direct);
  std::ranges::sort(winograd);
  const double direct_ms = direct[kRounds / 2], winograd_ms = winograd[kRounds / 2];
  timings->push_back(
      {{problem, direct_ms < winograd_ms ? ConvAlgorithm::direct : ConvAlgorithm::winograd},
       direct_ms,
       winograd_ms});
}

}  // namespace invar
