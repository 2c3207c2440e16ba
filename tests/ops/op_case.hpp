#pragma once
// The table of op cases and the checks that every case goes through.
//
// How to add a case: one entry in tests/ops/cases_<family>.cpp,
//
//   {.name = "mul", .inputs = {real({2, 3}), real({3})},
//    .f = [](const Tensors& x) { return x[0] * x[1]; }}
//
// A new family: a new file with a function that makes its cases, and three TEST_CASEs that call
// check_gradients ("[gradcheck]"), check_values ("[unit]") and check_on_gpu ("[cuda]") with them;
// name it in tests/CMakeLists.txt. f makes its constants on the device of its inputs.
//
//   check_gradients  f64: first and second order gradients against finite differences; the second
//                    order of transposed and strided inputs as well
//   check_values     the reference, if the case has one; f32 and bf16 against f64; transposed,
//                    strided and expanded inputs against dense ones: outputs and gradients
//   check_on_gpu     the GPU against the CPU, every dtype and layout: outputs and gradients
#include <functional>
#include <invar/autodiff/gradcheck.hpp>
#include <invar/core/random.hpp>
#include <string>
#include <vector>

namespace invar::test {

/// How one input is made. Values are exact in f32, so that both dtypes see the same ones.
struct Input {
  Dims shape;
  double low = -2, high = 2;  ///< uniform in [low, high)
  DType dtype = DType::f64;   ///< f64: a real input, also tried in f32. i64, boolean: as they are
};

inline Input real(const Dims& shape, double low = -2, double high = 2) {
  return {shape, low, high, DType::f64};
}
/// Integers in [0, bound).
inline Input index(const Dims& shape, std::int64_t bound) {
  return {shape, 0, static_cast<double>(bound), DType::i64};
}
inline Input mask(const Dims& shape) { return {shape, 0, 1, DType::boolean}; }

/// A function of the inputs that returns a Tensor or Tensors.
struct Function : TensorsFunction {
  Function() = default;
  template <ReturnsTensor F>
  Function(F f) : TensorsFunction([f](const Tensors& x) -> Tensors { return {f(x)}; }) {}
  template <class F>
  requires std::is_invocable_r_v<Tensors, F, const Tensors&> Function(F f) : TensorsFunction(f) {}
};

struct OpCase {
  std::string name;
  std::vector<Input> inputs = {};
  Function f;

  /// What f must give, computed naively, for f64 inputs. Empty: not checked.
  Function reference = {};
  /// Of outputs and gradients in f32 against f64, relative to the largest magnitude (at least 1).
  double f32_tolerance = 1e-5;
  /// Of bf16 against f64 on the same inputs, rounded to bf16; relative likewise. 0: f has no bf16
  /// and is to say so.
  double bf16_tolerance = 0.02;
  /// Of f64 against the reference and of other layouts against dense, relative likewise.
  double f64_tolerance = 1e-12;
  /// True iff f has kinks that the inputs may hit (see GradcheckOptions::skip_kinks).
  bool kinks = false;
  /// False iff f has no second derivative to check.
  bool second_order = true;
  /// False iff equal values along a dimension make the inputs invalid (a singular matrix).
  bool expandable = true;
  /// Makes the inputs instead of `inputs` (f64 where real), for those with structure.
  std::function<Tensors(Generator&)> make = {};
  GradcheckOptions gradcheck = {};
};

using OpCases = std::vector<OpCase>;

void check_gradients(const OpCases& cases);
void check_values(const OpCases& cases);
/// Skipped without a GPU, and where the GPU has no kernel, naming these cases.
void check_on_gpu(const OpCases& cases);

/// A shape of up to `max_rank` dimensions of 0 (seldom), 1 (often) or up to 4.
Dims random_shape(Generator& generator, int max_rank = 4);
/// A shape that broadcasts to `shape`: leading dimensions dropped, some sizes replaced by 1.
Dims random_broadcast_of(Generator& generator, const Dims& shape);
/// An integer in [low, high).
std::int64_t random_between(Generator& generator, std::int64_t low, std::int64_t high);

/// out[...] = f(the inputs' elements there, broadcast), one element at a time.
Tensor naive_elementwise(const Tensors& inputs,
                         const std::function<double(const std::vector<double>&)>& f);

/// out[i] = f(i) in f64, one element at a time; and the element of x at i.
Tensor from_coordinates(const Dims& shape, const std::function<double(const Dims&)>& f);
double at(const Tensor& x, const Dims& i);

}  // namespace invar::test
