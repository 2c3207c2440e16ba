#include <invar/core/autocast.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ssl/objective.hpp>
#include <invar/ssl/objectives/barlow_twins.hpp>
#include <invar/ssl/objectives/byol.hpp>
#include <invar/ssl/objectives/corinfomax.hpp>
#include <invar/ssl/objectives/mec.hpp>
#include <invar/ssl/objectives/moco_v3.hpp>
#include <invar/ssl/objectives/sigreg.hpp>
#include <invar/ssl/objectives/simclr.hpp>
#include <invar/ssl/objectives/simsiam.hpp>
#include <invar/ssl/objectives/supcon.hpp>
#include <invar/ssl/objectives/swav.hpp>
#include <invar/ssl/objectives/tcr.hpp>
#include <invar/ssl/objectives/vibcreg.hpp>
#include <invar/ssl/objectives/vicreg.hpp>
#include <invar/ssl/objectives/vicreg_entropy.hpp>
#include <invar/ssl/objectives/w_mse.hpp>
#include <map>
#include <nlohmann/json.hpp>

namespace invar::ssl {
namespace {

/// Of objectives without parameters and state.
template <class O>
std::unique_ptr<Objective> plain(JsonReader& options, std::int64_t) {
  return std::make_unique<O>(O::read_options(options));
}

/// Of those that depend on the width of the embeddings.
template <class O>
std::unique_ptr<Objective> sized(JsonReader& options, std::int64_t dim) {
  return std::make_unique<O>(dim, O::read_options(options));
}

ObjectiveMaker vicreg_with(EntropyEstimator estimator) {
  return [estimator](JsonReader& options, std::int64_t) {
    return std::make_unique<VicregEntropy>(options.where(),
                                           VicregEntropy::read_options(options, estimator));
  };
}

ObjectiveMaker byol_with(EntropyEstimator estimator) {
  return [estimator](JsonReader& options, std::int64_t dim) {
    return std::make_unique<Byol>(dim, Byol::read_options(options, estimator), options.where());
  };
}

std::map<std::string, ObjectiveMaker>& makers() {
  static std::map<std::string, ObjectiveMaker> table = {
      {"barlow_twins", plain<BarlowTwins>},
      {"byol", sized<Byol>},
      {"byol_logdet", byol_with(EntropyEstimator::log_det)},
      {"byol_pairdist", byol_with(EntropyEstimator::pairwise)},
      {"corinfomax", sized<CorInfoMax>},
      {"mec", sized<Mec>},
      {"moco_v3", sized<MocoV3>},
      {"sigreg", plain<SigReg>},
      {"simclr", plain<SimClr>},
      {"simsiam", sized<SimSiam>},
      {"supcon", plain<SupCon>},
      {"swav", sized<Swav>},
      {"tcr", plain<Tcr>},
      {"vibcreg", plain<VibcReg>},
      {"vicreg", plain<Vicreg>},
      {"vicreg_logdet", vicreg_with(EntropyEstimator::log_det)},
      {"vicreg_pairdist", vicreg_with(EntropyEstimator::pairwise)},
      {"w_mse", plain<Wmse>},
  };
  return table;
}

void check_batch(const std::string& name, Objective::Needs needs, const EmbeddedBatch& batch) {
  const Tensors& embeddings = batch.embeddings;
  check(embeddings.size() >= 2, name, "expected embeddings of at least 2 views, got {}",
        embeddings.size());
  const Tensor& first = embeddings[0];
  check(first.dim() == 2 && first.size(0) >= 2 && first.size(1) >= 1, name,
        "expected embeddings [n, d] with n >= 2, got {}: statistics of a batch need two samples",
        first.shape());
  check_floating(name, first.dtype());
  const auto check_all = [&](const char* what, const Tensors& tensors) {
    for (const Tensor& z : tensors) {
      check(z.shape() == first.shape() && z.dtype() == first.dtype(), name,
            "expected {} of one shape and dtype, got {} {} and {} {}", what, first.dtype(),
            first.shape(), z.dtype(), z.shape());
    }
  };
  check_all("embeddings", embeddings);
  if (needs.targets) {
    check(batch.targets.size() == embeddings.size(), name,
          "expected a target for each of {} views, got {}: this objective compares with an "
          "average of the networks over training",
          embeddings.size(), batch.targets.size());
    check_all("embeddings and targets", batch.targets);
  }
  if (needs.labels) {
    const Tensor& labels = batch.labels;
    check(labels.defined(), name, "expected labels, got none: this objective is supervised");
    check(labels.dtype() == DType::i64 && labels.shape() == Dims{first.size(0)}, name,
          "expected labels [{}] of i64, got {} {}", first.size(0), labels.dtype(), labels.shape());
  }
}

void check_output(const std::string& name, const ObjectiveOutput& output) {
  const auto check_number = [&](const std::string& what, const Tensor& value) {
    check(value.defined(), name, "expected {} of one number, got an undefined tensor", what);
    check(value.numel() == 1, name, "expected {} of one number, got {}: take the mean or the sum",
          what, value.shape());
  };
  check_number("a loss", output.loss);
  for (const auto& [term, value] : output.terms) {
    check_number(fmt::format("a term \"{}\"", term), value);
  }
  check_term_names(name, output, {});
}

}  // namespace

ObjectiveOutput Objective::operator()(const EmbeddedBatch& batch) {
  check_batch(name_, needs_, batch);
  const Span span([this] { return ModuleCall{this, typeid(*this)}; });
  const Autocast off(DType::f32);
  EmbeddedBatch wide = batch;
  for (Tensors* tensors : {&wide.embeddings, &wide.targets}) {
    for (Tensor& z : *tensors) z = invar::to(z, computed_in(z.dtype()));
  }
  ObjectiveOutput output = compute(wide);
  check_output(name_, output);
  return output;
}

void check_term_names(const std::string& objective, const ObjectiveOutput& output,
                      std::set<std::string> taken) {
  for (const auto& [term, value] : output.terms) {
    check(taken.insert(term).second, objective,
          "expected terms with names of their own, got another \"{}\": in a log they stand beside "
          "each other and what else is known of a step",
          term);
  }
}

double Objective::target_decay(double) const {
  fail(name_,
       "expected a decay of the target networks, got none: an objective that needs targets "
       "overrides target_decay");
}

std::optional<double> Objective::floor(std::int64_t, std::int64_t) const { return {}; }

void register_objective(const std::string& name, ObjectiveMaker maker) {
  check(makers().emplace(name, std::move(maker)).second, "register_objective",
        "expected a new name, got \"{}\": an objective of this name exists", name);
}

std::vector<std::string> objective_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : makers()) names.push_back(name);
  return names;
}

std::unique_ptr<Objective> make_objective(const Json& config, std::int64_t dim) {
  const auto name = JsonReader(config, "objective").require<std::string>("name");
  const auto maker = makers().find(name);
  if (maker == makers().end()) {
    fail("objective", "unknown objective \"{}\": {}", name, suggestion(name, objective_names()));
  }
  JsonReader reader(config, name);
  reader.get("name", name);
  auto objective = maker->second(reader, dim);
  check(objective != nullptr, "make_objective",
        "expected an objective from the maker of \"{}\", got a null pointer", name);
  reader.finish();
  return objective;
}

}  // namespace invar::ssl
