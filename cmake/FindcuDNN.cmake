# cuDNN: target cuDNN::cudnn, cuDNN_VERSION, cuDNN_LIBRARY. It is looked for in cuDNN_ROOT, in the
# CUDA toolkit, where the system keeps libraries, and last in Python's package nvidia-cudnn-cu12 or
# -cu13, which has no libcudnn.so, only libcudnn.so.9.
find_package(CUDAToolkit QUIET)
find_library(cuDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS "${CUDAToolkit_LIBRARY_DIR}")
find_path(cuDNN_INCLUDE_DIR NAMES cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT cuDNN_LIBRARY OR NOT cuDNN_INCLUDE_DIR)
  find_program(cuDNN_PYTHON NAMES python3)
  mark_as_advanced(cuDNN_PYTHON)
  if(cuDNN_PYTHON)
    execute_process(
      COMMAND "${cuDNN_PYTHON}" -c "import nvidia.cudnn as c; print(list(c.__path__)[0])"
      OUTPUT_VARIABLE package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(package)
      unset(cuDNN_LIBRARY CACHE) # one of the two may be of another version
      unset(cuDNN_INCLUDE_DIR CACHE)
      find_library(cuDNN_LIBRARY NAMES libcudnn.so.9 PATHS "${package}/lib" NO_DEFAULT_PATH)
      find_path(cuDNN_INCLUDE_DIR NAMES cudnn_version.h PATHS "${package}/include" NO_DEFAULT_PATH)
    endif()
  endif()
endif()
mark_as_advanced(cuDNN_LIBRARY cuDNN_INCLUDE_DIR)

set(cuDNN_VERSION "")
if(cuDNN_INCLUDE_DIR)
  file(STRINGS "${cuDNN_INCLUDE_DIR}/cudnn_version.h" lines
       REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) [0-9]+")
  string(REGEX MATCHALL " [0-9]+" numbers "${lines}")
  list(JOIN numbers "." cuDNN_VERSION)
  string(REPLACE " " "" cuDNN_VERSION "${cuDNN_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  cuDNN
  REQUIRED_VARS cuDNN_LIBRARY cuDNN_INCLUDE_DIR
  VERSION_VAR cuDNN_VERSION)

if(cuDNN_FOUND AND NOT TARGET cuDNN::cudnn)
  add_library(cuDNN::cudnn UNKNOWN IMPORTED)
  set_target_properties(
    cuDNN::cudnn PROPERTIES IMPORTED_LOCATION "${cuDNN_LIBRARY}"
                            INTERFACE_INCLUDE_DIRECTORIES "${cuDNN_INCLUDE_DIR}")
endif()
