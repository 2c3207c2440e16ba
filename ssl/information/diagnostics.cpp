#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/linalg.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <invar/ssl/information/conditional.hpp>
#include <invar/ssl/information/diagnostics.hpp>
#include <invar/ssl/information/entropy.hpp>
#include <invar/ssl/information/generalisation.hpp>
#include <invar/ssl/information/normality.hpp>
#include <invar/ssl/information/overlap.hpp>
#include <invar/ssl/information/pieces.hpp>
#include <invar/ssl/information/representation.hpp>
#include <limits>
#include <map>

namespace invar::ssl {
namespace {

using Diagnostic = std::function<double(const Tensors&)>;

constexpr double kBeta = 1e-3;

double per_dimension(const Tensor& value, const Tensor& z) {
  return value.item() / static_cast<double>(z.size(1));
}

double logdet_per_dimension(const Tensor& z, const LogDetOptions& options) {
  return logdet_entropy(z, options).item() / static_cast<double>(z.size(1)) - kLog2PiE / 2;
}

/// At s2 = factor d / log n.
double information(const Tensor& z, double factor, PairwiseBound bound) {
  const double n = static_cast<double>(z.size(0)), d = static_cast<double>(z.size(1));
  return pairwise_information(z, factor * d / std::log(n), bound).item();
}

double overlap_of_features(const Tensor& z) {
  return overlap(nearest_neighbour_distances(z), z.size(1), 0.1, {0.5})[0].error;
}

/// The mean of what is not NaN.
double mean_of_valid(const Tensor& x) {
  const Tensor valid = logical_not(isnan(x));
  return (sum(where(valid, x, 0.0)) / sum(to(valid, x.dtype()))).item();
}

double mean_p_value(const Tensor& z) { return mean_of_valid(normal_test(z).p_value); }

const std::map<std::string, Diagnostic>& table() {
  static const std::map<std::string, Diagnostic> diagnostics = [] {
    const std::map<std::string, double (*)(const Tensor&)> scaled = {
        {"logdet_entropy",
         [](const Tensor& z) { return logdet_per_dimension(z, {.beta = kBeta}); }},
        {"corrected_logdet_entropy",
         [](const Tensor& z) {
           return logdet_per_dimension(z, {.beta = 0, .correct_bias = true});
         }},
        {"information", [](const Tensor& z) { return information(z, 1, PairwiseBound::upper); }},
        {"information_upper",
         [](const Tensor& z) { return information(z, 0.5, PairwiseBound::upper); }},
        {"information_lower",
         [](const Tensor& z) { return information(z, 0.5, PairwiseBound::lower); }},
        {"overlap", overlap_of_features},
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
        {"conditional_isotropic",
         [](const Tensors& z) {
           return per_dimension(conditional_isotropic(z[0], z[1], 1), z[0]);
         }},
        {"conditional_fitted",
         [](const Tensors& z) {
           return per_dimension(conditional_fitted(z[0], z[1], kBeta), z[0]);
         }},
        {"normality", [](const Tensors& z) { return mean_p_value(z[0]); }},
    };
    for (const auto& [name, f] : scaled) {
      all[name] = [f = f](const Tensors& z) { return f(z[0]); };
      all["unit_" + name] = [f = f](const Tensors& z) { return f(rows_of_unit_variance(z[0])); };
    }
    return all;
  }();
  return diagnostics;
}

using ListDiagnostic = std::vector<double> (*)(const Tensors&);

std::vector<double> values_of(const Tensor& x, std::int64_t most) {
  const Tensor values = contiguous(to(to(x, DType::f64), kCpu));
  const double* const first = values.data<double>();
  return {first, first + std::min(most, values.numel())};
}

const std::map<std::string, ListDiagnostic>& lists() {
  static const std::map<std::string, ListDiagnostic> all = {
      {"spectrum", [](const Tensors& z) { return values_of(covariance_spectrum(z[0]), 64); }},
      {"std_per_dimension",
       [](const Tensors& z) { return values_of(dimension_std(z[0]), z[0].size(1)); }},
  };
  return all;
}

using LocalDiagnostic = std::function<double(const Surroundings&)>;

Generator noise_generator() { return Generator(20220710); }

Tensor noisy(const Surroundings& at) {
  Generator generator = noise_generator();
  return at.x + randn(at.x.shape(), at.x.options(), generator) * at.sigma;
}

/// At most 8 of the images.
Tensor some(const Tensor& x) { return narrow(x, 0, 0, std::min<std::int64_t>(8, x.size(0))); }

double noise_normality(const Surroundings& at) {
  constexpr std::int64_t kDraws = 256;
  Generator generator = noise_generator();
  const Tensor images = some(at.x);
  Tensors outputs;
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    Dims shape = at.x.shape();
    shape[0] = kDraws;
    outputs.push_back(
        at.f(narrow(images, 0, i, 1) + randn(shape, at.x.options(), generator) * at.sigma));
  }
  return mean_p_value(stack(outputs, 1));
}

double conditional_published_at(const Surroundings& at) {
  const Tensor x = some(at.x), other = some(at.other);
  const auto exact = [](const Tensor& t) { return to(t, DType::f64); };
  const auto covariance_at = [&](const Tensor& images) {
    return exact(output_covariance(at.f, images, {.sigma = at.sigma}));
  };
  const Tensor mu = exact(at.f(x)), mu_other = exact(at.f(other));
  return per_dimension(
      conditional_published(mu, mu_other, covariance_at(x), covariance_at(other), kBeta), mu);
}

double gaussian_entropy_at(const Surroundings& at) {
  const Tensor mu = to(at.outputs.defined() ? at.outputs : at.f(at.x), DType::f64);
  const Tensor noise =
      mean(to(output_covariance(at.f, some(at.x), {.sigma = at.sigma}), DType::f64), {0});
  const Tensor sigma = covariance(mu) + noise + eye(mu.size(1), -1, mu.options()) * kBeta;
  return per_dimension(logdet(sigma) * 0.5, mu);
}

double noise_variance(const Surroundings& at) {
  Generator generator = noise_generator();
  const Tensor c = output_covariance(at.f, at.x, {.sigma = at.sigma, .projections = 8}, generator);
  return mean(sum(diagonal(c, 0, -2, -1), {1})).item() /
         static_cast<double>(at.f(some(at.x)).size(1));
}

const std::map<std::string, LocalDiagnostic>& locals() {
  const auto mean_of = [](const Tensor& x) { return mean(to(x, DType::f64)).item(); };
  static const std::map<std::string, LocalDiagnostic> all = {
      {"flip_rate", [=](const Surroundings& s) { return mean_of(flip_rate(s.f, s.x, noisy(s))); }},
      {"linearisation_error",
       [](const Surroundings& s) {
         return mean_of_valid(linearisation_error(s.f, s.x, noisy(s)));
       }},
      {"same_region",
       [=](const Surroundings& s) { return mean_of(same_region(s.f, s.x, noisy(s))); }},
      {"noise_normality", noise_normality},
      {"noise_variance", noise_variance},
      {"conditional_published", conditional_published_at},
      {"gaussian_entropy", gaussian_entropy_at},
  };
  return all;
}

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& [name, function] : table) names.push_back(name);
  return names;
}

template <class Table>
const auto& find(const Table& table, const std::string& name) {
  const auto found = table.find(name);
  check(found != table.end(), "diagnostic", "unknown diagnostic \"{}\": {}", name,
        suggestion(name, names_of(table)));
  return found->second;
}

Tensors detached_views(const std::string& name, const Tensors& views) {
  check(views.size() >= 2, name, "expected at least 2 views, got {}", views.size());
  Tensors detached;
  for (const Tensor& z : views) detached.push_back(to(z.detach(), computed_in(z.dtype())));
  return detached;
}

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// `none` where f fails: no spread to take a rank of, no second eigenvalue, too few samples, NaNs.
template <class F>
auto value_or(const F& f, decltype(f()) none) {
  try {
    return f();
  } catch (const Error&) {
    return none;
  }
}

}  // namespace

std::vector<std::string> diagnostic_names() { return names_of(table()); }
std::vector<std::string> diagnostic_list_names() { return names_of(lists()); }
std::vector<std::string> local_diagnostic_names() { return names_of(locals()); }

double diagnostic(const std::string& name, const Tensors& views) {
  const Diagnostic& f = find(table(), name);
  NoGrad guard;
  const Tensors z = detached_views(name, views);
  return value_or([&] { return f(z); }, kNone);
}

std::vector<double> diagnostic_list(const std::string& name, const Tensors& views) {
  const ListDiagnostic f = find(lists(), name);
  NoGrad guard;
  const Tensors z = detached_views(name, views);
  return value_or([&] { return f(z); }, {kNone});
}

double local_diagnostic(const std::string& name, const Surroundings& at) {
  const LocalDiagnostic& f = find(locals(), name);
  check(name != "conditional_published" ||
            (at.other.defined() && at.other.dim() > 0 && at.other.size(0) == at.x.size(0)),
        name, "expected a second view of each of {} images, got {}", at.x.size(0),
        at.other.defined() ? fmt::format("{}", at.other.shape()) : "none");
  NoGrad guard;
  std::exception_ptr refused;  // what the network itself refuses is an error
  const Surroundings watched{[&](const Tensor& x) {
                               try {
                                 return at.f(x);
                               } catch (...) {
                                 refused = std::current_exception();
                                 throw;
                               }
                             },
                             at.x, at.other, at.sigma, at.outputs};
  const double value = value_or([&] { return f(watched); }, kNone);
  if (refused) std::rethrow_exception(refused);
  return value;
}

std::vector<std::pair<std::string, double>> bound_diagnostics(const Tensor& z, const Tensors& views,
                                                              const Tensor& labels) {
  NoGrad guard;
  const std::int64_t classes = amax(labels).item<std::int64_t>() + 1;
  const Tensor targets = to(one_hot(labels, classes), DType::f64);
  const auto terms = [&] { return bound_terms(z, targets, views[0], views[1], targets); };
  const BoundTerms none{kNone, kNone, kNone, kNone, {}};
  return value_or(terms, none).named();
}

}  // namespace invar::ssl
