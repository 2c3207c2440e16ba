# oneDNN from its own repository, for machines with a network and no package (INVAR_FETCH_ONEDNN=ON).
# It compiles for a long time.
include(FetchContent)
set(DNNL_CPU_RUNTIME OMP)
set(DNNL_GPU_RUNTIME NONE)
set(DNNL_LIBRARY_TYPE STATIC)
set(DNNL_BUILD_TESTS OFF)
set(DNNL_BUILD_EXAMPLES OFF)
FetchContent_Declare(
  onednn
  GIT_REPOSITORY https://github.com/oneapi-src/oneDNN.git
  GIT_TAG v3.7.2
  GIT_SHALLOW ON
  SYSTEM)
FetchContent_MakeAvailable(onednn)
if(NOT TARGET DNNL::dnnl)
  add_library(DNNL::dnnl ALIAS dnnl)
endif()
set(dnnl_FOUND TRUE)
set(dnnl_VERSION 3.7.2)
set(dnnl_DIR "${onednn_SOURCE_DIR}")
