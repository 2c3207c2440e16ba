#include <cmath>
#include <functional>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/normality.hpp>
#include <invar/ssl/information/representation.hpp>
#include <map>
#include <numbers>

namespace invar::ssl {
namespace {

using Diagnostic = std::function<double(const Tensors&)>;

double logdet_per_dimension(const Tensor& z) {
  const double constant = std::log(2 * std::numbers::pi * std::numbers::e) / 2;
  return logdet_entropy(z, {.beta = 1e-3}).item() / static_cast<double>(z.size(1)) - constant;
}

double information(const Tensor& z, PairwiseBound bound) {
  const double n = static_cast<double>(z.size(0)), d = static_cast<double>(z.size(1));
  const double c = bound == PairwiseBound::upper ? 2 : 8;
  return pairwise_information(z, 2 * d / (c * std::log(n)), bound).item();
}

double mean_p_value(const Tensors& z) {
  const Tensor p = normal_test(z[0]).p_value;
  const Tensor varies = eq(p, p);
  return (sum(where(varies, p, 0.0)) / sum(to(varies, p.dtype()))).item();
}

/// Rows of length sqrt(d).
Tensor unit(const Tensor& z) { return normalize(z) * std::sqrt(static_cast<double>(z.size(1))); }

const std::map<std::string, Diagnostic>& table() {
  static const std::map<std::string, Diagnostic> diagnostics = [] {
    const std::map<std::string, double (*)(const Tensor&)> entropies = {
        {"logdet_entropy", logdet_per_dimension},
        {"information_upper", [](const Tensor& z) { return information(z, PairwiseBound::upper); }},
        {"information_lower", [](const Tensor& z) { return information(z, PairwiseBound::lower); }},
    };
    std::map<std::string, Diagnostic> all = {
        {"std", [](const Tensors& z) { return mean(dimension_std(z[0])).item(); }},
        {"dead",
         [](const Tensors& z) {
           return mean(to(lt(dimension_std(z[0]), 1e-4), DType::f64)).item();
         }},
        {"rankme", [](const Tensors& z) { return rankme(z[0]); }},
        {"participation_ratio", [](const Tensors& z) { return participation_ratio(z[0]); }},
        {"alpha_req", [](const Tensors& z) { return alpha_req(z[0]).alpha; }},
        {"lidar", [](const Tensors& z) { return lidar(stack(z, 1)); }},
        {"alignment", [](const Tensors& z) { return alignment(z[0], z[1]).item(); }},
        {"uniformity", [](const Tensors& z) { return uniformity(z[0]).item(); }},
        {"normality", mean_p_value},
    };
    for (const auto& [name, entropy] : entropies) {
      all[name] = [entropy = entropy](const Tensors& z) { return entropy(z[0]); };
      all["unit_" + name] = [entropy = entropy](const Tensors& z) { return entropy(unit(z[0])); };
    }
    return all;
  }();
  return diagnostics;
}

}  // namespace

std::vector<std::string> diagnostic_names() {
  std::vector<std::string> names;
  for (const auto& [name, function] : table()) names.push_back(name);
  return names;
}

double diagnostic(const std::string& name, const Tensors& views) {
  const auto found = table().find(name);
  check(found != table().end(), "diagnostic", "unknown diagnostic \"{}\": did you mean \"{}\"?",
        name, nearest_word(name, diagnostic_names()));
  check(views.size() >= 2, name, "expected at least 2 views, got {}", views.size());
  NoGrad guard;
  Tensors detached;
  for (const Tensor& z : views) detached.push_back(to(z.detach(), computed_in(z.dtype())));
  try {
    return found->second(detached);
  } catch (const Error&) {  // no spread to take a rank of, no second eigenvalue, too few samples
    return std::nan("");
  }
}

}  // namespace invar::ssl
