#include <algorithm>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/nn/state_dict.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/view.hpp>
#include <map>

namespace invar::nn {
namespace {

constexpr std::size_t kListed = 20;  // of each kind of difference; the rest is counted

bool converts(DType from, DType to) { return from == to || (is_floating(from) && is_floating(to)); }

/// "\n  missing: a\n  missing: b" of at most kListed lines.
std::string listed(const char* what, const std::vector<std::string>& lines) {
  std::string text;
  for (std::size_t i = 0; i < std::min(kListed, lines.size()); ++i) {
    text += fmt::format("\n  {}: {}", what, lines[i]);
  }
  if (lines.size() > kListed) {
    text += fmt::format("\n  {}: and {} more", what, lines.size() - kListed);
  }
  return text;
}

/// The names with the nearest of `candidates` beside each.
std::vector<std::string> with_hints(const std::vector<std::string>& names,
                                    const std::vector<std::string>& candidates, const char* side) {
  std::vector<std::string> lines;
  for (const std::string& name : names) {
    // Looking for the nearest name takes time; nobody reads more than what is listed.
    const std::string nearest =
        lines.size() < kListed ? nearest_word(name, candidates) : std::string();
    lines.push_back(nearest.empty() ? name
                                    : fmt::format("{} (nearest {}: {})", name, side, nearest));
  }
  return lines;
}

}  // namespace

Tensor file_view(const Tensor& x, FileLayout layout) {
  const Tensor bare = x.detach();
  return layout == FileLayout::oihw ? permute(bare, {0, 3, 1, 2}) : bare;
}

StateDict state_dict_of(const std::vector<NamedTensor>& tensors) {
  StateDict state;
  for (const NamedTensor& t : tensors) {
    const bool is_new = state.emplace(t.name, file_view(t.tensor, t.layout)).second;
    check(is_new, "state_dict", "expected every name once, got '{}' twice", t.name);
  }
  return state;
}

LoadReport check_state_dict(std::string_view op, const std::vector<NamedTensor>& targets,
                            const StateDict& state, bool strict) {
  LoadReport report;
  std::vector<std::string> wrong;
  std::map<std::string_view, const NamedTensor*> expected;
  for (const NamedTensor& target : targets) {
    expected.emplace(target.name, &target);
    const auto found = state.find(target.name);
    if (found == state.end()) {
      report.missing.push_back(target.name);
      continue;
    }
    const Tensor want = file_view(target.tensor, target.layout);
    const Tensor& got = found->second;
    if (got.shape() != want.shape() || !converts(got.dtype(), want.dtype())) {
      wrong.push_back(fmt::format("{}: {} {} instead of {} {}", target.name, got.dtype(),
                                  got.shape(), want.dtype(), want.shape()));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!expected.contains(name)) report.unexpected.push_back(name);
  }

  std::string differences;
  if (strict && !report.missing.empty()) {
    differences += listed("missing", with_hints(report.missing, report.unexpected, "unexpected"));
  }
  if (strict && !report.unexpected.empty()) {
    differences += listed("unexpected", with_hints(report.unexpected, report.missing, "missing"));
  }
  differences += listed("does not fit", wrong);
  check(differences.empty(), op, "expected {} tensors, got {} with differences{}", targets.size(),
        state.size(), differences);
  return report;
}

LoadReport load_state_dict(std::string_view op, const std::vector<NamedTensor>& targets,
                           const StateDict& state, bool strict) {
  LoadReport report = check_state_dict(op, targets, state, strict);
  NoGrad guard;
  for (const NamedTensor& target : targets) {
    const auto found = state.find(target.name);
    if (found == state.end()) continue;
    copy_(file_view(target.tensor, target.layout), to(found->second, target.tensor.device()));
  }
  return report;
}

StateDict select(const StateDict& state, std::string_view prefix) {
  StateDict selected;
  for (const auto& [name, tensor] : state) {
    if (name.starts_with(prefix)) selected.emplace(name.substr(prefix.size()), tensor);
  }
  return selected;
}

}  // namespace invar::nn
