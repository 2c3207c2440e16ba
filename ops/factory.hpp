#pragma once
// Making tensors from nothing. `empty` and `from_blob` are in core/tensor.hpp.
#include <invar/core/random.hpp>
#include <invar/core/tensor.hpp>
#include <span>

namespace invar {

Tensor full(const Dims& shape, double value, TensorOptions options = {});
Tensor zeros(const Dims& shape, TensorOptions options = {});
Tensor ones(const Dims& shape, TensorOptions options = {});
Tensor full_like(const Tensor& x, double value);
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
/// A tensor holding `values` in row-major order.
Tensor tensor(std::initializer_list<double> values, TensorOptions options = {});
Tensor tensor(std::span<const double> values, const Dims& shape, TensorOptions options = {});

/// start, start + step, ... up to but excluding end.
Tensor arange(double start, double end, double step = 1, TensorOptions options = {});
/// `steps` equidistant values from start to end, both included.
Tensor linspace(double start, double end, std::int64_t steps, TensorOptions options = {});
/// Ones on the diagonal of [n, m] (m = n by default).
Tensor eye(std::int64_t n, std::int64_t m = -1, TensorOptions options = {});

// Random numbers (core/random.hpp): element i depends on the generator's state and i alone.

/// Uniform on [0, 1).
Tensor rand(const Dims& shape, TensorOptions options = {},
            Generator& generator = default_generator());
/// Standard normal.
Tensor randn(const Dims& shape, TensorOptions options = {},
             Generator& generator = default_generator());
/// Integers in [low, high), i64 unless options say otherwise.
Tensor randint(std::int64_t low, std::int64_t high, const Dims& shape,
               TensorOptions options = {.dtype = DType::i64},
               Generator& generator = default_generator());
/// 1 with probability p, else 0.
Tensor bernoulli(double p, const Dims& shape, TensorOptions options = {},
                 Generator& generator = default_generator());
/// A random order of 0 .. n-1 (i64).
Tensor randperm(std::int64_t n, Generator& generator = default_generator());

}  // namespace invar
