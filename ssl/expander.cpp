#include <invar/nn/modules.hpp>
#include <invar/ssl/expander.hpp>

namespace invar::ssl {

nn::Sequential make_expander(std::int64_t features, const ExpanderOptions& options) {
  nn::Sequential expander;
  std::int64_t width = features;
  for (std::size_t i = 0; i < options.layers.size(); ++i) {
    const std::int64_t next = options.layers[i];
    check(next >= 1, "expander", "expected layer widths of at least 1, got {}", next);
    const bool last = i + 1 == options.layers.size();
    expander.push_back(nn::Linear(width, next, last ? options.last_bias : options.hidden_bias));
    if (!last && options.hidden_batch_norm) expander.push_back(nn::BatchNorm1d(next));
    if (!last) expander.push_back(nn::ReLU());
    if (last && options.last_batch_norm) {
      expander.push_back(nn::BatchNorm1d(next, 1e-5, 0.1, /*affine=*/false));
    }
    width = next;
  }
  return expander;
}

}  // namespace invar::ssl
