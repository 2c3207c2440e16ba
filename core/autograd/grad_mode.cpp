#include <invar/core/autograd/grad_mode.hpp>

namespace invar {
namespace {

thread_local bool recording = true;
thread_local bool hunting = false;

}  // namespace

bool grad_enabled() { return recording; }
bool anomaly_enabled() { return hunting; }

GradMode::GradMode(bool enabled) : ScopedValue(recording, enabled) {}
AnomalyMode::AnomalyMode() : ScopedValue(hunting, true) {}

}  // namespace invar
