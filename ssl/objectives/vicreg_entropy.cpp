#include <invar/ops/elementwise.hpp>
#include <invar/ssl/objectives/pieces.hpp>
#include <invar/ssl/objectives/vicreg_entropy.hpp>

namespace invar::ssl {

VicregEntropy::VicregEntropy(std::string name, const Options& options)
    : Objective(std::move(name)), options_(options), vicreg_(options.vicreg) {
  check_entropy_term(this->name(), options.entropy);
}

ObjectiveOutput VicregEntropy::compute(const EmbeddedBatch& batch) {
  EntropyTerm term = options_.entropy;
  if (options_.replace && term.s2 == 0 && options_.vicreg.invariance > 0) {
    const auto d = static_cast<double>(batch.embeddings[0].size(1));
    term.s2 = term.weight * d / (2 * pairwise_constant(term.bound) * options_.vicreg.invariance);
  }
  const Tensor entropy = mean_entropy(batch.embeddings, term);
  ObjectiveOutput output;
  if (options_.replace) {
    const Tensor invariance = mean_squared_distance(batch.embeddings);
    output = {invariance * options_.vicreg.invariance, {{"invariance", invariance.detach()}}};
  } else {
    output = vicreg_(batch);
  }
  output.loss = output.loss - entropy * options_.entropy.weight;
  output.terms.emplace_back("entropy", entropy.detach());
  return output;
}

VicregEntropy::Options VicregEntropy::read_options(JsonReader& reader, EntropyEstimator estimator) {
  Options o{.entropy = read_entropy_term(reader, estimator,
                                         estimator == EntropyEstimator::log_det ? 10 : 2)};
  const auto regulariser = reader.get<std::string>("regulariser", "replace");
  check(regulariser == "replace" || regulariser == "add", reader.where(),
        "expected regulariser \"replace\" or \"add\", got \"{}\"", regulariser);
  o.replace = regulariser == "replace";
  if (o.replace) {
    o.vicreg.invariance = reader.get("invariance", o.vicreg.invariance);
  } else {
    o.vicreg = Vicreg::read_options(reader);
  }
  return o;
}

}  // namespace invar::ssl
