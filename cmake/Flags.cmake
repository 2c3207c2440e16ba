# Compiler flags of this project's own targets (directory scope: nothing leaks into consumers).

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  message(WARNING "Invar is built and tested with GCC >= 12 only, not with "
                  "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}.")
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "Invar needs GCC >= 12, found ${CMAKE_CXX_COMPILER_VERSION} "
                      "(${CMAKE_CXX_COMPILER}). Install g++-12 and configure with CXX=g++-12.")
endif()

# nvcc hands these on to the host's compiler.
function(invar_compile_options)
  foreach(option IN LISTS ARGN)
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${option}>"
                        "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${option}>")
  endforeach()
endfunction()

invar_compile_options(-Wall -Wextra)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns about "text" + std::string(...) inside its own <string> (GCC bug 105651).
  invar_compile_options(-Wno-restrict)
endif()
# Only for the compiler that every change is built with (Debian 12's): a user's newer one may warn
# about what nobody saw yet, and must build all the same.
if(INVAR_WERROR
   AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  invar_compile_options(-Werror)
endif()

# No contraction of a * b + c: own kernels give the same bits whatever the compiler fuses.
invar_compile_options(-ffp-contract=off)
# nvcc: a functor that is made for unsigned types as well compares them with 0 (186), and fmt's check
# of format strings at compile time is beyond it (FMT_...).
add_compile_options(
  "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--expt-relaxed-constexpr;--diag-suppress=186>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-DFMT_CONSTEVAL=;-DFMT_USE_CONSTEVAL=0;-DFMT_USE_CONSTEXPR=1>")
if(INVAR_ARCH AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  invar_compile_options(-march=${INVAR_ARCH})
endif()

set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
# -Og -g1 compiles sanitized code three times as fast as -O1 -g, and reports still name their lines.
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g1 -D_GLIBCXX_ASSERTIONS")
if(INVAR_SANITIZE)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  invar_compile_options(${sanitizers})
  add_link_options(${sanitizers})
endif()

# The same relative layout in the build tree as after installation, so one RPATH serves both and
# programs find the private oneDNN (Dependencies.cmake) beside them wherever the tree is moved.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_BINDIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}")
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
file(RELATIVE_PATH bin_to_lib "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
set(CMAKE_INSTALL_RPATH "$ORIGIN/${bin_to_lib}" "$ORIGIN/${bin_to_lib}/invar/onednn/lib")

# ccache, if there is one; paths below the source folder count as relative, so clones and presets share
# results. Depend mode finds them by the headers that the compiler read, without a preprocessor's run.
find_program(INVAR_CCACHE ccache)
mark_as_advanced(INVAR_CCACHE)
if(INVAR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
                                  "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_DEPEND=1
                                  "${INVAR_CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

# Code that reads files and options, nothing that computes: -O3 would only make compilers toil at
# nlohmann's and CLI11's templates. Release alone: -Og is less than -O1 already.
set(INVAR_COLD_CODE "$<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>")
