#pragma once
// Per-thread switches: whether operations are recorded, and whether backward hunts for NaNs.
#include <invar/core/scoped_value.hpp>
#include <invar/core/tensor.hpp>

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

/// The rule of in-place operations, checked by every one of them before it writes: outside NoGrad,
/// neither the target nor an operand may require grad; never may elements of the target share an
/// address (expand). `op` is the in-place function ("add_").
void check_in_place(const Tensor& target, bool operand_requires_grad, std::string_view op);

}  // namespace invar
