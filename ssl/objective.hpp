#pragma once
// Objective: what self-supervised training minimises. Embeddings of two or more views of a batch go
// in, a loss and its named terms come out:
//
//   images --augment--> views --encoder--> features --expander--> embeddings --Objective--> loss
//
// An objective of your own is one short file: derive from Objective, compute with ops, and every
// gradient follows. `make_objective` builds the ones that come with the library from a JSON object.
#include <invar/core/json_reader.hpp>
#include <invar/core/tensor.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace invar::ssl {

struct ObjectiveOutput {
  Tensor loss;  ///< scalar; what backward starts from
  /// The loss's parts before weighting, scalars without history, for logging.
  std::vector<std::pair<std::string, Tensor>> terms;
};

class Objective {
 public:
  virtual ~Objective() = default;

  /// `embeddings`: one tensor [n, d] per view; row i of each comes from image i.
  virtual ObjectiveOutput operator()(const Tensors& embeddings) const = 0;
};

/// Throws Error unless there are at least two embeddings, all of one shape [n, d] with n >= 2 and
/// d >= 1, and one floating dtype.
void check_embeddings(const char* objective, const Tensors& embeddings);

/// {"name": "vicreg", ...options of the objective}. Unknown names and keys are an Error that names
/// the nearest one that exists.
std::unique_ptr<Objective> make_objective(const Json& config);

}  // namespace invar::ssl
