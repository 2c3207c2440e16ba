#pragma once
// The expander (projector): the small network between features and embeddings.
#include <invar/nn/container.hpp>
#include <vector>

namespace invar::ssl {

struct ExpanderOptions {
  /// Widths. Every layer but the last is Linear, BatchNorm1d, ReLU; the last is Linear alone.
  std::vector<std::int64_t> layers = {2048, 2048, 2048};
  bool hidden_batch_norm = true;  ///< false: Linear, ReLU, as CorInfoMax has it
  bool hidden_bias = true;  ///< of the linear layers before a batch-norm, as in the authors' code
  bool last_bias = false;
  /// A BatchNorm1d without weight and bias after the last layer, as SimSiam and MoCo v3 have it.
  bool last_batch_norm = false;
};

/// make_expander(512, {.layers = {8192, 8192, 8192}}) is VICReg's expander for a ResNet-18. An
/// empty list gives the identity.
nn::Sequential make_expander(std::int64_t features, const ExpanderOptions& options = {});

}  // namespace invar::ssl
