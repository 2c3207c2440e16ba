#pragma once
// SavedTensor: a tensor that a gradient rule keeps until backward.
//
//   SavedTensor(x)           an input: kept with its history, so that double backward reaches it
//   SavedTensor::output(y)   the operation's own output: kept without history (the node must not
//   own
//                            itself); get() gives the history back
//
// get() throws Error if the bytes were changed in place since (see Note [Version counter]).
#include <invar/core/tensor.hpp>

namespace invar {

class SavedTensor {
 public:
  SavedTensor() = default;
  /// An undefined tensor may be saved; get() returns it.
  SavedTensor(const Tensor& input) : SavedTensor(input, -1) {}
  /// The `output_nr`-th output of the node that is about to be recorded.
  static SavedTensor output(const Tensor& y, int output_nr = 0) {
    return SavedTensor(y.detach(), output_nr);
  }

  /// Only inside a gradient rule that the engine runs.
  Tensor get() const;
  bool defined() const { return tensor_.defined(); }

 private:
  SavedTensor(const Tensor& tensor, int output_nr)
      : tensor_(tensor), version_(tensor.defined() ? tensor.version() : 0), output_nr_(output_nr) {}

  Tensor tensor_;
  std::uint32_t version_ = 0;
  int output_nr_ = -1;  ///< -1: not an output
};

}  // namespace invar
