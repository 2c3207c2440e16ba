#pragma once
// State dicts: tensors by name, as files hold them.
//
//   StateDict state = model.state_dict();          "layer1.0.conv1.weight" -> [64, 64, 3, 3]
//   write_safetensors("encoder.safetensors", state);
//   other.load_state_dict(read_safetensors("encoder.safetensors"));
//
// Names, shapes and dtypes in a state dict are PyTorch's, so that Python reads our files and we
// read Python's. The one place where we hold a tensor differently, convolution weights, is declared
// by the parameter itself (FileLayout), never guessed from a rank; the buffers that an optimiser
// keeps for a parameter follow its declaration. A state dict holds *views* in the files' layout:
// taking one copies nothing, and writing to its tensors writes to the model.
#include <invar/core/tensor.hpp>
#include <invar/nn/safetensors.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace invar::nn {

/// How the dimensions of a tensor are ordered in files.
enum class FileLayout {
  same,  ///< as in memory
  oihw,  ///< in memory [O, kh, kw, I], in files [O, I, kh, kw]
};

/// A parameter or buffer, named by its path: "layer1.0.conv1.weight".
struct NamedTensor {
  std::string name;
  Tensor tensor;  ///< as in memory
  FileLayout layout = FileLayout::same;
};

/// The same elements in the files' order, without history; shares x's memory.
Tensor file_view(const Tensor& x, FileLayout layout);

/// The views of `tensors` by name. Error if a name occurs twice.
StateDict state_dict_of(const std::vector<NamedTensor>& tensors);

/// What a load that is not strict skipped.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the model, not in the state dict
  std::vector<std::string> unexpected;  ///< in the state dict, not in the model
};

/// Compares a state dict with where it is to be copied to. Error, naming each tensor, for a wrong
/// shape or kind of number (floating dtypes convert to each other, integers and booleans only to
/// themselves), and if `strict` for missing and unexpected names too, each with the nearest name on
/// the other side. `op` opens the message.
LoadReport check_state_dict(std::string_view op, const std::vector<NamedTensor>& targets,
                            const StateDict& state, bool strict = true);

/// check_state_dict, then the copy into every target that the state dict has, on whichever device
/// each of the two is. After an error nothing was changed.
LoadReport load_state_dict(std::string_view op, const std::vector<NamedTensor>& targets,
                           const StateDict& state, bool strict = true);

/// The entries whose names start with `prefix`, without it:
/// select(state, "encoder.") turns "encoder.conv1.weight" into "conv1.weight".
StateDict select(const StateDict& state, std::string_view prefix);

}  // namespace invar::nn
