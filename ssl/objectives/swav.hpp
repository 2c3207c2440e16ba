#pragma once
// SwAV (Caron and others, NeurIPS 2020), as in the authors' code: each view predicts to which of K
// prototypes the other views are assigned; the assignments share the prototypes out evenly.
//
//   z                embeddings [n, d] of a view; x = z / |z| by rows
//   C                prototypes [K, d], rows brought back to length 1 before each training step
//   s                x C^T, scores [n, K]
//   q                codes: Sinkhorn's iteration on e^(s / eps), below; no gradient
//   loss             mean over code views a, mean over views b != a, of
//                    mean_i -sum_k q^a_ik log softmax_k(s^b_i / temperature)
//
// Sinkhorn: `iterations` times, the columns (prototypes) of Q are scaled to the sum n/K each, then
// the rows (samples) to 1 each. Codes are made from the first `code_views` views only, as with
// multi-crop, where the other views are small. With a queue (for small batches) the codes are those
// of the batch together with the `queue` latest embeddings of the view, from `queue_epoch` on and
// once the queue is full; it is a multiple of n.
//
// K 3000, temperature .1, eps .05, 3 iterations; the prototypes are not trained in the first
// `freeze_epochs` 1 epochs. The gradient does not flow through the normalisation of C.
#include <invar/ssl/objective.hpp>

namespace invar::ssl {

class Swav : public Objective {
 public:
  struct Options {
    std::int64_t prototypes = 3000;
    double temperature = 0.1;
    double eps = 0.05;
    int iterations = 3;
    std::int64_t code_views = 2;
    double freeze_epochs = 1;
    std::int64_t queue = 0;  ///< embeddings kept of each code view; 0: none
    double queue_epoch = 15;
  };
  Swav(std::int64_t dim, const Options& options);  ///< Error if they are out of range
  static Options read_options(JsonReader& reader);

  nn::Parameter prototypes;  ///< [K, d]
  nn::Buffer queue;          ///< [code_views, queue, d], newest first; or absent
  nn::Buffer queued;         ///< scalar, i64: how many rows of it are filled; or absent

 private:
  /// Terms: "perplexity" (of the mean softmax of the first view, in [1, K]: how many prototypes are
  /// in use).
  ObjectiveOutput compute(const EmbeddedBatch& batch) override;
  /// The codes of the code view a with unit rows x.
  Tensor codes_of(std::size_t a, const Tensor& x, double epoch) const;
  /// The rows of a step enter the queue.
  void enqueue(const Tensors& x);
  void members(nn::Members& m) override;

  Options options_;
};

/// Codes of scores [n, K], rows that sum to 1: see the top of this file.
Tensor sinkhorn(const Tensor& scores, double eps, int iterations);

}  // namespace invar::ssl
