#include <algorithm>
#include <cmath>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/nn/optim/adam.hpp>
#include <invar/nn/optim/schedule.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/loss.hpp>
#include <invar/ops/matmul.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/evaluation.hpp>

namespace invar::ssl {
namespace {

void check_features(const char* op, const LabelledFeatures& train, const LabelledFeatures& test,
                    std::int64_t classes) {
  for (const LabelledFeatures* set : {&train, &test}) {
    check(set->features.dim() == 2 && set->labels.dim() == 1 &&
              set->features.size(0) == set->labels.size(0) && set->features.size(0) > 0,
          op, "expected features [n, d] and labels [n] with n >= 1, got {} and {}",
          set->features.shape(), set->labels.shape());
    const std::int64_t low = amin(set->labels).item<std::int64_t>();
    const std::int64_t high = amax(set->labels).item<std::int64_t>();
    check(low >= 0 && high < classes, op, "expected labels in [0, {}), got {} to {}", classes, low,
          high);
  }
  check(train.features.size(1) == test.features.size(1), op,
        "expected features of one width, got {} and {}", train.features.shape(),
        test.features.shape());
}

double percent_equal(const Tensor& predicted, const Tensor& labels) {
  return 100.0 * sum(eq(predicted, labels)).item() / static_cast<double>(labels.numel());
}

}  // namespace

LabelledFeatures extract_features(nn::Module& encoder,
                                  const std::function<std::pair<Tensor, Tensor>()>& images) {
  NoGrad guard;
  const nn::ModeScope evaluating(encoder, /*train=*/false);
  Tensors features, labels;
  for (;;) {
    auto [batch, batch_labels] = images();
    if (!batch.defined()) break;
    features.push_back(encoder(batch));
    labels.push_back(batch_labels);
  }
  check(!features.empty(), "extract_features", "expected at least one batch of images, got none");
  return {cat(features, 0), cat(labels, 0)};
}

double knn_accuracy(const LabelledFeatures& train, const LabelledFeatures& test,
                    std::int64_t classes, const KnnOptions& options) {
  check_features("knn", train, test, classes);
  check(options.k >= 1 && options.temperature > 0, "knn",
        "expected k >= 1 and temperature > 0, got {} and {}", options.k, options.temperature);
  NoGrad guard;
  const Tensor bank = transpose(normalize(train.features, 1));
  const Tensor queries = normalize(test.features, 1);
  const std::int64_t k = std::min(options.k, train.features.size(0));
  double correct = 0;
  constexpr std::int64_t kChunk = 500;  // [500, 60000] similarities: 120 MB
  const auto tell = [&](std::int64_t done) {
    if (options.progress) options.progress(done, queries.size(0));
  };
  tell(0);
  for (std::int64_t at = 0; at < queries.size(0); at += kChunk) {
    const std::int64_t n = std::min(kChunk, queries.size(0) - at);
    const auto [similarity, index] = topk(matmul(narrow(queries, 0, at, n), bank), k, 1);
    const Tensor neighbours =
        reshape(index_select(train.labels, 0, reshape(index, {n * k})), {n, k});
    // Relative to the nearest: e^(1 / T) is infinite from T = .011 downwards.
    const Tensor nearest = narrow(similarity, 1, 0, 1);
    const Tensor votes = scatter_add(zeros({n, classes}, bank.options()), 1, neighbours,
                                     exp((similarity - nearest) / options.temperature));
    correct += sum(eq(argmax(votes, 1), narrow(test.labels, 0, at, n))).item();
    tell(at + n);
  }
  return 100.0 * correct / static_cast<double>(queries.size(0));
}

double linear_probe(const LabelledFeatures& train, const LabelledFeatures& test,
                    std::int64_t classes, const LinearProbeOptions& options) {
  check_features("linear_probe", train, test, classes);
  check(options.epochs >= 1 && options.batch_size >= 1, "linear_probe",
        "expected epochs >= 1 and batch_size >= 1, got {} and {}", options.epochs,
        options.batch_size);
  const std::int64_t n = train.features.size(0), d = train.features.size(1);
  const std::int64_t batch = std::min(options.batch_size, n);
  Generator generator(options.seed);
  const Tensor centre = mean(train.features, {0}, true);
  // A feature that is constant in training keeps its scale: it has no weight that was learned.
  const Tensor spread = std(train.features, {0}, 1, true);
  const Tensor scale = where(lt(spread, 1e-6), ones_like(spread), spread + 1e-6);
  const Tensor inputs = ((train.features - centre) / scale).detach();

  const double bound = 1.0 / std::sqrt(static_cast<double>(d));
  const TensorOptions placed{.device = inputs.device()};
  Tensor weight = (rand({classes, d}, placed, generator) * 2 - 1) * bound;
  Tensor bias = (rand({classes}, placed, generator) * 2 - 1) * bound;
  weight.requires_grad_();
  bias.requires_grad_();
  nn::AdamW optimizer(nn::ParameterList(Tensors{weight, bias}),
                      {.lr = options.lr, .weight_decay = options.weight_decay});
  const std::int64_t steps_per_epoch = n / batch;
  const nn::WarmupCosine schedule(
      {.base_lr = options.lr, .total_steps = options.epochs * steps_per_epoch});
  const auto tell = [&](std::int64_t steps) {
    if (options.progress) {
      options.progress(steps * batch, options.epochs * steps_per_epoch * batch);
    }
  };
  tell(0);
  std::int64_t step = 0;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    const Tensor order = to(randperm(n, generator), inputs.device());
    for (std::int64_t i = 0; i < steps_per_epoch; ++i, ++step) {
      const Tensor rows = narrow(order, 0, i * batch, batch);
      const Tensor logits = linear(index_select(inputs, 0, rows), weight, bias);
      optimizer.zero_grad();
      cross_entropy(logits, index_select(train.labels, 0, rows)).backward();
      optimizer.set_lr(schedule.lr(step));
      optimizer.step();
      tell(step + 1);
    }
  }
  NoGrad guard;
  const Tensor logits = linear((test.features - centre) / scale, weight, bias);
  check(all(isfinite(logits)).item<bool>(), "linear_probe",
        "expected finite logits, got others: lower the learning rate of {} (one training image has "
        "no spread to learn from, either)",
        options.lr);
  return percent_equal(argmax(logits, 1), test.labels);
}

}  // namespace invar::ssl
