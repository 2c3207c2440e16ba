# What was configured, last so that it stays on the screen.
string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}}" flags)
if(INVAR_SANITIZE)
  string(APPEND flags " -fsanitize=address,undefined")
endif()
if(INVAR_CCACHE)
  set(ccache "${INVAR_CCACHE}")
else()
  set(ccache "none (rebuilds are faster with it: apt-get install ccache)")
endif()
if(INVAR_BUILD_EXAMPLES)
  set(programs on)
else()
  set(programs off)
endif()
list(JOIN invar_dependencies "\n    " lines)
message(
  STATUS
    "Invar ${PROJECT_VERSION}\n"
    "  compiler   ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} (${CMAKE_CXX_COMPILER})\n"
    "  flags      ${CMAKE_BUILD_TYPE}: ${flags} -march=${INVAR_ARCH}\n"
    "  ccache     ${ccache}\n"
    "  CUDA       ${INVAR_CUDA_NOTE}\n"
    "  programs   ${programs}\n"
    "  tests      ${INVAR_TESTS_NOTE}\n"
    "  bench      ${INVAR_BENCH_NOTE}\n"
    "  build      ${PROJECT_BINARY_DIR}\n"
    "  install    ${CMAKE_INSTALL_PREFIX}\n"
    "  dependencies\n"
    "    ${lines}\n")
