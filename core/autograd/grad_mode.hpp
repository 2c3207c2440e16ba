#pragma once
// Per-thread switches: whether operations are recorded, and whether backward hunts for NaNs.
#include <invar/core/scoped_value.hpp>

namespace invar {

/// True iff operations are recorded in this thread (the default).
bool grad_enabled();
bool anomaly_enabled();

/// Sets a thread-local switch for a scope.
struct GradMode : ScopedValue<bool> {
  explicit GradMode(bool enabled);
};

/// `NoGrad guard;`: nothing is recorded until the end of the scope; in-place operations are
/// allowed.
struct NoGrad : GradMode {
  NoGrad() : GradMode(false) {}
};

/// `AnomalyMode guard;`: forward calls remember where they were made, and backward stops at the
/// first gradient that is not finite, naming the operation.
struct AnomalyMode : ScopedValue<bool> {
  AnomalyMode();
};

}  // namespace invar
