#pragma once
// Autocast: mixed precision for a scope, with PyTorch's name and meaning. The policy, which
// operation computes in which precision, is the table in ops/autocast.hpp.
//
//   Tensor loss;
//   {
//     const Autocast guard(DType::bf16);
//     loss = mse_loss(model(x), target);  // the model's parameters stay f32
//   }
//   loss.backward();
//
// A backward pass, hooks included, runs with autocast off wherever it is started: gradients follow
// the dtypes that the forward pass chose.
#include <invar/core/dtype.hpp>
#include <invar/core/scoped_value.hpp>

namespace invar {

/// What autocast rounds to in this thread; f32: it is off.
inline thread_local constinit DType autocast_dtype = DType::f32;

/// Sets it for a scope. Error unless f32 or bf16.
class Autocast : ScopedValue<DType> {
 public:
  explicit Autocast(DType dtype) : ScopedValue(autocast_dtype, checked(dtype)) {}

 private:
  static DType checked(DType dtype) {
    check(dtype == DType::f32 || dtype == DType::bf16, "Autocast",
          "expected bf16, or f32 (off), got {}", name_of(dtype));
    return dtype;
  }
};

}  // namespace invar
