#include <functional>
#include <invar/ssl/objective.hpp>
#include <invar/ssl/vicreg.hpp>
#include <map>

namespace invar::ssl {

void check_embeddings(const char* objective, const Tensors& embeddings) {
  check(embeddings.size() >= 2, objective, "expected embeddings of at least 2 views, got {}",
        embeddings.size());
  const Tensor& first = embeddings[0];
  check(first.dim() == 2 && first.size(0) >= 2 && first.size(1) >= 1, objective,
        "expected embeddings [n, d] with n >= 2, got {}: statistics of a batch need two samples",
        first.shape());
  check(is_floating(first.dtype()), objective, "expected a floating dtype, got {}", first.dtype());
  for (const Tensor& z : embeddings) {
    check(z.shape() == first.shape() && z.dtype() == first.dtype(), objective,
          "expected embeddings of one shape and dtype, got {} {} and {} {}", first.dtype(),
          first.shape(), z.dtype(), z.shape());
  }
}

std::unique_ptr<Objective> make_objective(const Json& config) {
  using Maker = std::function<std::unique_ptr<Objective>(JsonReader&)>;
  static const std::map<std::string, Maker> kMakers = {
      {"vicreg", [](JsonReader& r) { return std::make_unique<Vicreg>(Vicreg::read_options(r)); }},
  };
  JsonReader reader(config, "objective");
  const auto name = reader.require<std::string>("name");
  const auto maker = kMakers.find(name);
  if (maker == kMakers.end()) {
    std::vector<std::string> names;
    for (const auto& [known, unused] : kMakers) names.push_back(known);
    fail("objective", "unknown objective \"{}\": did you mean \"{}\"?", name,
         nearest_word(name, names));
  }
  auto objective = maker->second(reader);
  reader.finish();
  return objective;
}

}  // namespace invar::ssl
