// Single operations in f64 against PyTorch: outputs and the gradient of every input. The cases and
// their inputs are in ops.json (generate.py's table OPS); here each has the same call to our library.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <map>

#include "golden.hpp"

using namespace invar;
