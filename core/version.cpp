#include <invar/core/version.hpp>

namespace invar {

std::string_view version() { return INVAR_VERSION; }

}  // namespace invar
