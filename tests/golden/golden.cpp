#include "golden.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fstream>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/view.hpp>

namespace golden {
namespace {

using invar::nn::NamedTensor;

constexpr std::uint64_t kGamma = 0x9E3779B97F4A7C15;

Dims dims_of(const json& shape) { return Dims(shape.get<std::vector<std::int64_t>>()); }

Tensor from_torch_order(const std::vector<double>& values, const Dims& shape, DType dtype) {
  const Tensor t = invar::tensor(values, shape, {.dtype = dtype});
  return shape.size() == 4 ? invar::contiguous(invar::permute(t, {0, 2, 3, 1})) : t;
}

double norm_of(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v * v;
  return std::sqrt(sum);
}

bool is_counter(const NamedTensor& t) { return t.name.ends_with("num_batches_tracked"); }

/// The worst of many differences.
struct Worst {
  double difference = 0;
  std::string what;

  void see(double ours, double theirs, double scale, const std::string& name) {
    const double larger = std::max(std::abs(theirs), scale);
    double d = ours == theirs ? 0 : std::abs(ours - theirs) / larger;
    if (!std::isfinite(d)) d = INFINITY;
    if (d > difference) {
      difference = d;
      what = fmt::format("{}: ours {:.17g}, theirs {:.17g}, relative difference {:.3g}", name, ours,
                         theirs, d);
    }
  }

  double report(const std::string& tensor, double tolerance) const {
    if (difference > tolerance) {
      FAIL_CHECK(fmt::format("{}, {} (allowed {:.3g})", tensor, what, tolerance));
    }
    return difference;
  }
};

}  // namespace

json load(const std::string& file) {
  const std::string path = "tests/golden/" + file;
  std::ifstream in(path);
  INFO("run the tests in the project's root");
  REQUIRE(in.is_open());
  return json::parse(in);
}

std::uint64_t hash(std::string_view name, std::uint64_t i) {
  std::uint64_t h = 0xCBF29CE484222325;  // FNV-1a
  for (unsigned char c : name) h = (h ^ c) * 0x100000001B3;
  std::uint64_t z = h + i * kGamma + kGamma;  // splitmix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

double unit(std::string_view name, std::uint64_t i) {
  return static_cast<double>(hash(name, i) >> 40) / 0x1p23 - 1;
}

std::int64_t below(std::string_view name, std::uint64_t i, std::int64_t n) {
  return static_cast<std::int64_t>(((hash(name, i) >> 40) * static_cast<std::uint64_t>(n)) >> 24);
}

Tensor uniform(const std::string& name, const Dims& shape, DType dtype, double offset,
               double scale) {
  std::vector<double> values(invar::numel_of(shape));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(offset + scale * unit(name, i));
  }
  return from_torch_order(values, shape, dtype);
}

Tensor initial(const std::string& name, const Dims& shape, DType dtype) {
  if (shape.size() >= 2) {
    const std::int64_t fan_in = invar::numel_of(shape) / shape[0];
    return uniform(name, shape, dtype, 0, std::sqrt(6 / static_cast<double>(fan_in)));
  }
  if (name.ends_with(".weight") || name.ends_with(".running_var")) {
    return uniform(name, shape, dtype, 1, 0.2);
  }
  return uniform(name, shape, dtype, 0, 0.1);
}

Tensor integers(const std::string& name, const Dims& shape, std::int64_t n) {
  std::vector<double> values(invar::numel_of(shape));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = below(name, i, n);
  return from_torch_order(values, shape, DType::i64);
}

Tensor input(const std::string& name, const json& spec, DType dtype) {
  const Dims shape = dims_of(spec.at("shape"));
  const std::string kind = spec.at("kind");
  if (kind == "uniform") return uniform(name, shape, dtype, spec.at("offset"), spec.at("scale"));
  if (kind == "ints") return integers(name, shape, spec.at("levels"));
  if (kind == "values") return from_torch_order(spec.at("values"), shape, dtype);
  REQUIRE(kind == "grid");
  std::vector<double> values(invar::numel_of(shape));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = spec.at("offset").get<double>() +
                spec.at("scale").get<double>() * below(name, i, spec.at("levels"));
  }
  return from_torch_order(values, shape, dtype);
}

Dims torch_shape(const Tensor& t) {
  const Dims& s = t.shape();
  return s.size() == 4 ? Dims{s[0], s[3], s[1], s[2]} : s;
}

std::vector<double> torch_order(const Tensor& t) {
  Tensor x = t.detach();
  if (x.dim() == 4) x = invar::permute(x, {0, 3, 1, 2});
  x = invar::contiguous(invar::to(x, DType::f64));
  return {x.data<double>(), x.data<double>() + x.numel()};
}

double compare(const std::string& name, const Tensor& ours, const json& record, double tolerance,
               double all_gradients) {
  REQUIRE(ours.defined());
  const Dims shape = torch_shape(ours);
  if (shape != dims_of(record.at("shape"))) {
    FAIL_CHECK(fmt::format("{}: ours has shape {}, theirs {}", name, to_string(shape),
                           record.at("shape").dump()));
    return INFINITY;
  }
  const std::vector<double> values = torch_order(ours);
  const double norm = norm_of(values);
  if (record.contains("zero")) {
    if (!(norm <= 1e-12 * all_gradients)) {
      FAIL_CHECK(
          fmt::format("{}: ours has norm {:.3g}, theirs is zero but for rounding", name, norm));
    }
    return 0;
  }

  const double their_norm = record.at("norm");
  Worst worst;
  worst.see(norm, their_norm, 0, "norm");
  if (record.contains("projections")) {
    std::vector<double> projections(record.at("projections").size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t signs = hash("projection", i);
      for (std::size_t k = 0; k < projections.size(); ++k) {
        projections[k] += (signs >> k) & 1 ? values[i] : -values[i];
      }
    }
    for (std::size_t k = 0; k < projections.size(); ++k) {
      worst.see(projections[k], record.at("projections")[k], their_norm,
                fmt::format("projection {}", k));
    }
  }
  const auto samples = record.at("samples").get<std::vector<double>>();
  const double rms = their_norm / std::sqrt(static_cast<double>(values.size()));
  for (std::size_t j = 0; j < samples.size(); ++j) {
    const std::size_t at = record.contains("projections") ? hash("sample", j) % values.size() : j;
    worst.see(values.at(at), samples[j], rms,
              fmt::format("element {} of {} (PyTorch's order)", at, to_string(shape)));
  }
  return worst.report(name, tolerance);
}

double compare(const std::string& name, double ours, double theirs, double tolerance) {
  Worst worst;
  worst.see(ours, theirs, 0, "value");
  return worst.report(name, tolerance);
}

void fill(invar::nn::Module& module, const std::string& prefix) {
  invar::NoGrad guard;
  auto set = [&](const NamedTensor& t) {
    if (is_counter(t)) return;
    invar::copy_(t.tensor, initial(prefix + t.name, torch_shape(t.tensor), DType::f64));
  };
  for (const NamedTensor& t : module.named_parameters()) set(t);
  for (const NamedTensor& t : module.named_buffers()) set(t);
}

void compare(const std::string& name, const std::vector<NamedTensor>& tensors, const json& records,
             double tolerance) {
  std::size_t compared = 0;
  for (const NamedTensor& t : tensors) {
    if (is_counter(t)) continue;
    REQUIRE(records.contains(t.name));
    compare(name + ": " + t.name, t.tensor, records.at(t.name), tolerance);
    ++compared;
  }
  CHECK(compared == records.size());
}

void compare_gradients(const std::string& name, const std::vector<NamedTensor>& tensors,
                       const json& records, double tolerance) {
  double squares = 0;
  for (const NamedTensor& t : tensors) {
    REQUIRE(t.tensor.grad().defined());
    const double norm = norm_of(torch_order(t.tensor.grad()));
    squares += norm * norm;
  }
  for (const NamedTensor& t : tensors) {
    REQUIRE(records.contains(t.name));
    compare(name + ": gradient of " + t.name, t.tensor.grad(), records.at(t.name), tolerance,
            std::sqrt(squares));
  }
  CHECK(tensors.size() == records.size());
}

}  // namespace golden
