# The TurboJPEG API of libjpeg-turbo: target TurboJPEG::TurboJPEG, TurboJPEG_VERSION,
# TurboJPEG_LIBRARY. (Not every distribution packs libjpeg-turbo's own CMake files.)
find_library(TurboJPEG_LIBRARY NAMES turbojpeg)
find_path(TurboJPEG_INCLUDE_DIR NAMES turbojpeg.h)
mark_as_advanced(TurboJPEG_LIBRARY TurboJPEG_INCLUDE_DIR)

set(TurboJPEG_VERSION "")
if(TurboJPEG_LIBRARY)
  cmake_path(GET TurboJPEG_LIBRARY PARENT_PATH folder)
  if(EXISTS "${folder}/pkgconfig/libturbojpeg.pc")
    file(STRINGS "${folder}/pkgconfig/libturbojpeg.pc" line REGEX "^Version:")
    string(REGEX MATCH "[0-9.]+" TurboJPEG_VERSION "${line}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TurboJPEG
  REQUIRED_VARS TurboJPEG_LIBRARY TurboJPEG_INCLUDE_DIR
  VERSION_VAR TurboJPEG_VERSION)

if(TurboJPEG_FOUND AND NOT TARGET TurboJPEG::TurboJPEG)
  add_library(TurboJPEG::TurboJPEG UNKNOWN IMPORTED)
  set_target_properties(
    TurboJPEG::TurboJPEG PROPERTIES IMPORTED_LOCATION "${TurboJPEG_LIBRARY}"
                                    INTERFACE_INCLUDE_DIRECTORIES "${TurboJPEG_INCLUDE_DIR}")
endif()
