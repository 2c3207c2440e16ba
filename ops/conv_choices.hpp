#pragma once
// Which algorithm computes a convolution on the CPU, where two can (3x3 kernels, stride 1 or 2,
// dilation 1, one group):
//
//   1. conv_algorithm(), if it is direct or winograd: always that one;
//   2. conv_choices(): what was chosen for this very pass, shape and dtype;
//   3. ops/cpu/winograd.hpp: a function of dtype, shapes and instruction set.
//
// Nothing here measures unless it is told to (tune_convolutions), so a run can be repeated. The two
// algorithms differ in the last bits: whoever tunes keeps the choices with the results.
#include <functional>
#include <invar/ops/conv.hpp>
#include <vector>

namespace invar {

enum class ConvPass { forward, backward_input, backward_weight };

/// One pass of one convolution that has the choice.
struct ConvProblem {
  ConvPass pass;
  DType dtype;  ///< f32 or bf16
  Dims input;   ///< [N, H, W, C]
  Dims weight;  ///< [O, 3, 3, C]
  Size2 padding;
  Size2 stride;
  bool operator==(const ConvProblem&) const = default;
};

struct ConvChoice {
  ConvProblem problem;
  ConvAlgorithm algorithm;  ///< direct or winograd
  bool operator==(const ConvChoice&) const = default;
};
using ConvChoices = std::vector<ConvChoice>;

/// For all convolutions from now on, in any thread. Error if a choice is `automatic`.
void set_conv_choices(ConvChoices choices);
ConvChoices conv_choices();

/// What 1. and 2. say; `automatic` if neither says anything.
ConvAlgorithm conv_algorithm(const ConvProblem& problem);

struct ConvTiming {
  ConvChoice choice;
  double direct_ms, winograd_ms;  ///< medians
};

/// Runs f (a training step, say) and times both algorithms, in turn, on every problem that comes up
/// in it; afterwards the faster ones are conv_choices(). No other thread may compute meanwhile.
std::vector<ConvTiming> tune_convolutions(const std::function<void()>& f);

/// For kernels, before they ask what to do: within tune_convolutions, times `run`, which computes
/// this problem by conv_algorithm(); elsewhere does nothing.
void time_if_tuning(const ConvProblem& problem, const std::function<void()>& run);

}  // namespace invar
