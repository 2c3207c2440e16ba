# A program of examples/ or bench/: `bin/<name>` in the build tree, `invar-<name>` when installed.
#
#   invar_program(pretrain SOURCES pretrain.cpp run.cpp [LIBRARIES CLI11::CLI11] [INSTALL])
#
# `programs` builds everything of examples/ and nothing else.
add_custom_target(programs)

function(invar_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "INSTALL" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE invar::invar ${arg_LIBRARIES})
  if(arg_INSTALL)
    install(PROGRAMS "$<TARGET_FILE:${name}>" DESTINATION "${CMAKE_INSTALL_BINDIR}"
            RENAME "invar-${name}")
  endif()
endfunction()
