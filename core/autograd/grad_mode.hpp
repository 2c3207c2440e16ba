#pragma once
// Per-thread switches: whether operations are recorded, and whether backward hunts for NaNs.
#include <invar/core/tensor.hpp>

namespace invar {

/// True iff operations are recorded in this thread (the default).
bool grad_enabled();
bool anomaly_enabled();

/// Sets a thread-local switch for a scope.
class GradMode {
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};

/// `NoGrad guard;`: nothing is recorded until the end of the scope; in-place operations are
/// allowed.
class NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

/// `AnomalyMode guard;`: forward calls remember where they were made, and backward stops at the
/// first gradient that is not finite, naming the operation.
class AnomalyMode {
 public:
  AnomalyMode();
  ~AnomalyMode();
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;

 private:
  bool previous_;
};

/// The rule of in-place operations, checked by every one of them before it writes: outside NoGrad,
/// neither the target nor an operand may require grad; never may elements of the target share an
/// address (expand). `op` is the in-place function ("add_").
void check_in_place(const Tensor& target, bool operand_requires_grad, std::string_view op);

}  // namespace invar
