# OpenBLAS with its LAPACK: target OpenBLAS::OpenBLAS, OpenBLAS_VERSION, OpenBLAS_LIBRARY.
#
# Debian ships it serial, with pthreads and with OpenMP, side by side. Invar parallelises outside
# BLAS, so the serial one comes first here; at run time the loader may still pick another (they
# share a soname), which is why the code that calls it sets one thread.
# LAPACK is called by its Fortran names (dpotrf_ ...): OpenBLAS has those everywhere, LAPACKE not.
set(variants openblas-serial openblas-openmp openblas-pthread openblas)
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
