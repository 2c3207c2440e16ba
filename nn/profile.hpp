#pragma once
// How the profiler of autodiff/ learns the names of a network's modules.
#include <invar/autodiff/profiler.hpp>
#include <invar/nn/module.hpp>

namespace invar::nn {

/// The rows of the network's modules are named as in named_parameters(), below `root`:
/// "network.layer1.0.conv1". By address: a network that moves is to be named again.
inline void name_modules(Profiler& profiler, Module& network, const std::string& root = "network") {
  for (const auto& [path, module] : network.named_modules()) {
    profiler.name_module(module, path.empty() ? root : root + "." + path);
  }
}

}  // namespace invar::nn
