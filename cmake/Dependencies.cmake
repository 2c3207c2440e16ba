# Every dependency, its minimum version and the command that installs it. All are looked for before
# the first complaint, so one run of CMake names everything that is missing.

# Packages that no system package offers new enough; scripts/bootstrap unpacks them here.
set(INVAR_DEPS_DIR "${PROJECT_SOURCE_DIR}/.deps" CACHE PATH "Private packages (scripts/bootstrap)")
option(INVAR_FETCH_ONEDNN "Download and build oneDNN with FetchContent if none is found" OFF)

set(invar_dependencies "") # lines of the summary
set(invar_missing "") # lines of the error

# Notes a dependency for the summary, or for the error if `found` is false or it is too old.
#   invar_dependency(<name> <minimum version> <found> <version> <path> <command that installs it>)
function(invar_dependency name minimum found version path command)
  if(found AND (version STREQUAL "" OR version VERSION_GREATER_EQUAL minimum))
    string(LENGTH "${name}" length)
    math(EXPR pad "18 - ${length}")
    string(REPEAT " " ${pad} name_pad)
    string(LENGTH "${version}" length)
    math(EXPR pad "10 - ${length}")
    if(pad LESS 1)
      set(pad 1)
    endif()
    string(REPEAT " " ${pad} version_pad)
    list(APPEND invar_dependencies "${name}${name_pad}${version}${version_pad}${path}")
    set(invar_dependencies "${invar_dependencies}" PARENT_SCOPE)
    return()
  endif()
  if(version STREQUAL "")
    set(what "not found")
  else()
    set(what "found only ${version} ${path}")
  endif()
  list(APPEND invar_missing "  ${name} >= ${minimum}: ${what}\n      ${command}\n")
  set(invar_missing "${invar_missing}" PARENT_SCOPE)
endfunction()

# find_package in config mode: system packages first, then what scripts/bootstrap unpacked. If both
# are lacking or too old, <name>_VERSION is the version that was turned down, for the error.
macro(invar_find_config name minimum private_prefix)
  find_package(${name} ${minimum} CONFIG QUIET)
  if(NOT ${name}_FOUND)
    set(turned_down ${${name}_CONSIDERED_VERSIONS})
    list(FILTER turned_down INCLUDE REGEX "^[0-9]")
    find_package(${name} ${minimum} CONFIG QUIET PATHS "${private_prefix}" NO_DEFAULT_PATH)
    if(NOT ${name}_FOUND)
      list(POP_FRONT turned_down ${name}_VERSION)
      set(${name}_DIR "")
    endif()
  endif()
endmacro()

set(apt "sudo apt-get install")

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

find_package(OpenMP QUIET COMPONENTS CXX)
set(path "${OpenMP_gomp_LIBRARY}")
invar_dependency(OpenMP 4.5 "${OpenMP_CXX_FOUND}" "${OpenMP_CXX_VERSION}" "${path}" "${apt} g++")

invar_find_config(fmt 9 "")
invar_dependency(fmt 9 "${fmt_FOUND}" "${fmt_VERSION}" "${fmt_DIR}" "${apt} libfmt-dev")

invar_find_config(nlohmann_json 3.11 "")
invar_dependency(nlohmann_json 3.11 "${nlohmann_json_FOUND}" "${nlohmann_json_VERSION}"
                 "${nlohmann_json_DIR}" "${apt} nlohmann-json3-dev")

invar_find_config(dnnl 3.2 "${INVAR_DEPS_DIR}/onednn")
if(NOT dnnl_FOUND AND INVAR_FETCH_ONEDNN)
  include(FetchOneDNN)
endif()
invar_dependency(oneDNN 3.2 "${dnnl_FOUND}" "${dnnl_VERSION}" "${dnnl_DIR}" "scripts/bootstrap run")

find_package(OpenBLAS MODULE QUIET)
invar_dependency(OpenBLAS 0.3 "${OpenBLAS_FOUND}" "${OpenBLAS_VERSION}" "${OpenBLAS_LIBRARY}"
                 "${apt} libopenblas-pthread-dev")

find_package(JPEG QUIET) # its version is that of the interface: 62 or 80 for libjpeg-turbo
set(path "${JPEG_LIBRARY_RELEASE}")
invar_dependency(libjpeg 62 "${JPEG_FOUND}" "${JPEG_VERSION}" "${path}" "${apt} libjpeg-dev")

find_package(PNG QUIET)
set(path "${PNG_LIBRARY_RELEASE}")
invar_dependency(libpng 1.6 "${PNG_FOUND}" "${PNG_VERSION_STRING}" "${path}" "${apt} libpng-dev")

find_package(ZLIB QUIET)
set(path "${ZLIB_LIBRARY_RELEASE}")
invar_dependency(zlib 1.2 "${ZLIB_FOUND}" "${ZLIB_VERSION_STRING}" "${path}" "${apt} zlib1g-dev")

if(INVAR_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit QUIET)
  find_package(cuDNN MODULE QUIET)
  find_package(cudnnFrontend MODULE QUIET)
  # The toolkit is of use with its compiler and these libraries only.
  if(NOT CMAKE_CUDA_COMPILER OR NOT TARGET CUDA::cublasLt OR NOT TARGET CUDA::cusolver)
    set(CUDAToolkit_FOUND FALSE)
  endif()
  set(lacks "")
  if(INVAR_CUDA STREQUAL "AUTO")
    if(NOT CUDAToolkit_FOUND OR CUDAToolkit_VERSION VERSION_LESS 12.4)
      set(lacks "no CUDA toolkit >= 12.4 with nvcc on the PATH")
    elseif(NOT cuDNN_FOUND OR cuDNN_VERSION VERSION_LESS 9.0)
      set(lacks "CUDA ${CUDAToolkit_VERSION}, but no cuDNN >= 9.0: install it, or pip install nvidia-cudnn-cu13")
    elseif(NOT cudnnFrontend_FOUND OR cudnnFrontend_VERSION VERSION_LESS 1.18)
      set(lacks "CUDA ${CUDAToolkit_VERSION}, but no cudnn-frontend >= 1.18: run scripts/bootstrap cuda")
    endif()
  endif()
  if(lacks)
    set(INVAR_CUDA OFF)
    set(INVAR_CUDA_NOTE "off (${lacks})" CACHE INTERNAL "read by scripts/test")
  else()
    set(without "(or configure with -DINVAR_CUDA=OFF)")
    invar_dependency(CUDA 12.4 "${CUDAToolkit_FOUND}" "${CUDAToolkit_VERSION}"
                     "${CUDAToolkit_NVCC_EXECUTABLE}"
                     "install NVIDIA's CUDA toolkit and put its nvcc on the PATH   ${without}")
    invar_dependency(cuDNN 9.0 "${cuDNN_FOUND}" "${cuDNN_VERSION}" "${cuDNN_LIBRARY}"
                     "install NVIDIA's cuDNN, or pip install nvidia-cudnn-cu13 (-cu12), or pass -DcuDNN_ROOT=...   ${without}")
    invar_dependency(cudnn-frontend 1.18 "${cudnnFrontend_FOUND}" "${cudnnFrontend_VERSION}"
                     "${cudnnFrontend_INCLUDE_DIR}" "scripts/bootstrap cuda   ${without}")
    set(INVAR_CUDA ON)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90)
    endif()
    set(INVAR_CUDA_NOTE "on, for compute capability ${CMAKE_CUDA_ARCHITECTURES}" CACHE INTERNAL "")
  endif()
else()
  set(INVAR_CUDA_NOTE "off" CACHE INTERNAL "")
endif()

if(INVAR_BUILD_EXAMPLES)
  invar_find_config(CLI11 2.1 "")
  invar_dependency(CLI11 2.1 "${CLI11_FOUND}" "${CLI11_VERSION}" "${CLI11_DIR}"
                   "${apt} libcli11-dev   (or configure with -DINVAR_BUILD_EXAMPLES=OFF)")
endif()

if(INVAR_BUILD_TESTS)
  invar_find_config(Catch2 3.3 "${INVAR_DEPS_DIR}/catch2/usr")
  find_package(Python3 3.9 QUIET COMPONENTS Interpreter)
  if(INVAR_BUILD_TESTS STREQUAL "AUTO" AND NOT (Catch2_FOUND AND Python3_FOUND))
    set(INVAR_BUILD_TESTS OFF)
    set(INVAR_TESTS_NOTE "off (no Catch2 >= 3.3; scripts/bootstrap test installs it)")
  else()
    invar_dependency(Catch2 3.3 "${Catch2_FOUND}" "${Catch2_VERSION}" "${Catch2_DIR}"
                     "scripts/bootstrap test   (or configure with -DINVAR_BUILD_TESTS=OFF)")
    invar_dependency(Python 3.9 "${Python3_FOUND}" "${Python3_VERSION}" "${Python3_EXECUTABLE}"
                     "${apt} python3")
    set(INVAR_TESTS_NOTE "on")
  endif()
else()
  set(INVAR_TESTS_NOTE "off")
endif()

if(INVAR_BUILD_BENCH)
  invar_find_config(benchmark 1.6 "")
  if(INVAR_BUILD_BENCH STREQUAL "AUTO" AND NOT benchmark_FOUND)
    set(INVAR_BUILD_BENCH OFF)
    set(INVAR_BENCH_NOTE "off (no Google Benchmark; apt-get install libbenchmark-dev)")
  else()
    invar_dependency(benchmark 1.6 "${benchmark_FOUND}" "${benchmark_VERSION}" "${benchmark_DIR}"
                     "${apt} libbenchmark-dev   (or configure with -DINVAR_BUILD_BENCH=OFF)")
    set(INVAR_BENCH_NOTE "on")
  endif()
else()
  set(INVAR_BENCH_NOTE "off")
endif()

if(invar_missing)
  list(JOIN invar_missing "" lines)
  message(FATAL_ERROR "Invar lacks:\n${lines}\n"
                      "`scripts/bootstrap run` installs whatever is lacking to build and train, "
                      "`scripts/bootstrap test` also what the tests need.")
endif()

# A oneDNN of our own goes where programs look for it (RPATH, Flags.cmake), now and when installed.
cmake_path(IS_PREFIX INVAR_DEPS_DIR "${dnnl_DIR}" NORMALIZE INVAR_PRIVATE_ONEDNN)
if(INVAR_PRIVATE_ONEDNN)
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}/invar")
  file(CREATE_LINK "${INVAR_DEPS_DIR}/onednn"
       "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}/invar/onednn" SYMBOLIC)
endif()

if(INVAR_CUDA)
  enable_language(CUDA)
  # Named as a system folder, /usr/include would come before the standard library's headers.
  list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know how to ask nvcc for C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
endif()
