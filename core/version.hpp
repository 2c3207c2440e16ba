#pragma once
// The version of the library, as the build system knows it.
#include <string_view>

namespace invar {

/// "major.minor.patch" (semantic versioning). Below 1.0 a minor release may change the API.
std::string_view version();

}  // namespace invar
