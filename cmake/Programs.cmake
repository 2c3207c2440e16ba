# Programs. Each is built as bin/<name>.
#
#   invar_program(pretrain SOURCES pretrain.cpp run.cpp LIBRARIES CLI11::CLI11)
#     a program of examples/, part of the target `programs`; installed as invar-pretrain
#   invar_benchmark(bench_ops SOURCES ops.cpp [LIBRARIES benchmark::benchmark])
#     a program of bench/, part of the target `benchmarks`; not installed
add_custom_target(programs)
add_custom_target(benchmarks)

function(invar_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE invar::invar ${arg_LIBRARIES})
  add_dependencies(programs ${name})
  install(PROGRAMS "$<TARGET_FILE:${name}>" DESTINATION "${CMAKE_INSTALL_BINDIR}"
          RENAME "invar-${name}")
endfunction()

function(invar_benchmark name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE invar::invar ${arg_LIBRARIES})
  add_dependencies(benchmarks ${name})
endfunction()
