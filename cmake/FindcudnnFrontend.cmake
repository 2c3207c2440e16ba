# The headers of cudnn-frontend: target cudnnFrontend::headers, cudnnFrontend_VERSION,
# cudnnFrontend_INCLUDE_DIR. What scripts/bootstrap unpacked comes first: it is the version that this
# is compiled with every day.
find_path(cudnnFrontend_INCLUDE_DIR NAMES cudnn_frontend_version.h
          HINTS "${INVAR_DEPS_DIR}/cudnn-frontend/include")
mark_as_advanced(cudnnFrontend_INCLUDE_DIR)

set(cudnnFrontend_VERSION "")
if(cudnnFrontend_INCLUDE_DIR)
  file(STRINGS "${cudnnFrontend_INCLUDE_DIR}/cudnn_frontend_version.h" lines
       REGEX "#define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION [0-9]+")
  string(REGEX MATCHALL " [0-9]+" numbers "${lines}")
  list(JOIN numbers "." cudnnFrontend_VERSION)
  string(REPLACE " " "" cudnnFrontend_VERSION "${cudnnFrontend_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  cudnnFrontend
  REQUIRED_VARS cudnnFrontend_INCLUDE_DIR
  VERSION_VAR cudnnFrontend_VERSION)

if(cudnnFrontend_FOUND AND NOT TARGET cudnnFrontend::headers)
  add_library(cudnnFrontend::headers INTERFACE IMPORTED)
  set_target_properties(cudnnFrontend::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
                                                          "${cudnnFrontend_INCLUDE_DIR}")
endif()
