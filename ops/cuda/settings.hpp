#pragma once
// How NVIDIA's libraries compute, for all operations from now on, in any thread. In a build without
// CUDA these can be set all the same and change nothing.
#include <cstddef>
#include <map>
#include <string>

namespace invar::cuda {

/// Whether f32 convolutions and products may round their operands to TF32, which has the range of
/// f32 and 10 bits after the leading one: several times as fast, with errors of 1e-3 instead of
/// 1e-6. Off at first, so that f32 is f32 as on the CPU. (PyTorch's allow_tf32, which is on there
/// for convolutions.)
void set_allow_tf32(bool on);
bool allow_tf32();

/// Whether algorithms that give other bits from run to run are avoided (atomic additions of
/// floating numbers). Off at first. (PyTorch's function of the same name.)
void use_deterministic_algorithms(bool on);
bool are_deterministic_algorithms_enabled();

/// The memory that one convolution or product may use beside its operands; 256 MiB at first.
void set_workspace_limit(std::size_t bytes);
std::size_t workspace_limit();

/// Whether cuDNN's first suggestions for a convolution are timed when it comes up first, and the
/// fastest is kept. Off at first: which one is the fastest, and with it the last bits of results,
/// may change from run to run. (PyTorch's cudnn.benchmark.)
void set_benchmark(bool on);
bool is_benchmark_on();

/// The names of the plans that were chosen by timing, by convolution. Once they are set, these
/// convolutions get these plans without timing: a resumed run computes as it did before. One whose
/// plan cuDNN no longer suggests is timed again.
using PlanChoices = std::map<std::string, std::string>;
PlanChoices plan_choices();
void set_plan_choices(PlanChoices choices);
void add_plan_choice(const std::string& convolution, const std::string& plan);

/// What cuDNN had no plan for since the program began, with its reasons, by convolution: small ones
/// were computed by plain kernels instead, slowly.
std::map<std::string, std::string> convolutions_without_plan();
void add_convolution_without_plan(const std::string& convolution, const std::string& reason);

}  // namespace invar::cuda
