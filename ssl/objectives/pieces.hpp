#pragma once
// What several objectives are made of.
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <invar/core/tensor.hpp>
#include <invar/nn/container.hpp>
#include <invar/ssl/objective.hpp>
#include <string>
#include <utility>

namespace invar::ssl {

/// Error naming `objective` and the first of these options that is below 0 or NaN.
void check_not_negative(const std::string& objective,
                        std::initializer_list<std::pair<const char*, double>> options);

/// Mean of f(a, b) over all pairs of views a < b, for an f that is symmetric.
Tensor mean_over_pairs(std::size_t views,
                       const std::function<Tensor(std::size_t a, std::size_t b)>& f);

/// Mean of f(a, b) over all ordered pairs of views a != b.
Tensor mean_over_ordered_pairs(std::size_t views,
                               const std::function<Tensor(std::size_t a, std::size_t b)>& f);

/// The mean of (z - z')^2 over samples, dimensions and pairs of views.
Tensor mean_squared_distance(const Tensors& views);

/// mean_i cos(x_i, y_i) over the rows of x, y [n, d].
Tensor mean_cosine(const Tensor& x, const Tensor& y);

/// Sum of the squares of a matrix' elements but for those of its diagonal.
Tensor off_diagonal_squares(const Tensor& square_matrix);

/// Linear(dim, hidden) without bias, BatchNorm1d, ReLU, Linear(hidden, dim): what turns embeddings
/// into predictions of the other view's. Biases are where SimSiam has them; BYOL and MoCo v3 leave
/// out the last one.
nn::Sequential make_predictor(std::int64_t dim, std::int64_t hidden);

struct PredictorOptions {
  std::int64_t hidden;  ///< width of the predictor
  double base_decay;    ///< of the networks' average, at the beginning
};

/// Reads "hidden" and "base_decay"; `o` has the defaults.
PredictorOptions read_predictor(JsonReader& reader, PredictorOptions o);

/// An objective whose predictor tells what averaged networks make of the other views.
class PredictingObjective : public Objective {
 public:
  /// 1 - (1 - base) (cos(pi progress) + 1) / 2: from base to 1 along a cosine.
  double target_decay(double progress) const override;

  nn::Sequential predictor;

 protected:
  /// Error if the options are out of range.
  PredictingObjective(std::string name, Needs needs, std::int64_t dim, PredictorOptions options);

 private:
  void members(nn::Members& m) override { m("predictor", predictor); }

  double base_decay_;
};

}  // namespace invar::ssl
