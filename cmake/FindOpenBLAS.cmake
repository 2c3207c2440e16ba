# OpenBLAS with its LAPACK: target OpenBLAS::OpenBLAS, OpenBLAS_VERSION, OpenBLAS_LIBRARY.
#
# Debian ships it with pthreads, with OpenMP and serial, side by side. Invar parallelises outside of
# BLAS and calls it from several threads at once, each call in one thread: any build will do, but
# calls of the serial one have to take turns (ops/cpu/blas.hpp), so it comes last. At run time the
# loader may still pick another (they share a soname).
# LAPACK is called by its Fortran names (dpotrf_ ...): OpenBLAS has those everywhere, LAPACKE not.
set(variants openblas-pthread openblas-openmp openblas openblas-serial)
find_library(OpenBLAS_LIBRARY NAMES openblas PATH_SUFFIXES ${variants})
find_path(OpenBLAS_INCLUDE_DIR NAMES openblas_config.h PATH_SUFFIXES ${variants})
mark_as_advanced(OpenBLAS_LIBRARY OpenBLAS_INCLUDE_DIR)

set(OpenBLAS_VERSION "")
if(OpenBLAS_INCLUDE_DIR)
  file(STRINGS "${OpenBLAS_INCLUDE_DIR}/openblas_config.h" line REGEX "OPENBLAS_VERSION")
  if(line MATCHES "OpenBLAS ([0-9.]+)")
    set(OpenBLAS_VERSION "${CMAKE_MATCH_1}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  OpenBLAS
  REQUIRED_VARS OpenBLAS_LIBRARY OpenBLAS_INCLUDE_DIR
  VERSION_VAR OpenBLAS_VERSION)

if(OpenBLAS_FOUND AND NOT TARGET OpenBLAS::OpenBLAS)
  add_library(OpenBLAS::OpenBLAS UNKNOWN IMPORTED)
  set_target_properties(
    OpenBLAS::OpenBLAS PROPERTIES IMPORTED_LOCATION "${OpenBLAS_LIBRARY}"
                                  INTERFACE_INCLUDE_DIRECTORIES "${OpenBLAS_INCLUDE_DIR}")
endif()
