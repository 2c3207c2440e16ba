# Installed: the library, the public headers, the programs (invar-*, Programs.cmake) and their
# configurations, the package files for find_package(invar), and the private oneDNN if we use one.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/invar")

install(TARGETS invar EXPORT invar-targets)
install(FILES "${PROJECT_SOURCE_DIR}/invar.hpp" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/invar")
foreach(folder core ops autodiff nn ssl data)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${folder}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/invar"
          FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inc"
          PATTERN "cpu" EXCLUDE) # kernels: nobody else includes them
endforeach()
install(EXPORT invar-targets NAMESPACE invar:: DESTINATION "${package_dir}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/invar-config.cmake.in" "${PROJECT_BINARY_DIR}/invar-config.cmake"
  INSTALL_DESTINATION "${package_dir}"
  PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/invar-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/invar-config.cmake"
              "${PROJECT_BINARY_DIR}/invar-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindOpenBLAS.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindcuDNN.cmake"
        DESTINATION "${package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/README.md"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/docs" DESTINATION "${CMAKE_INSTALL_DOCDIR}"
        FILES_MATCHING PATTERN "*.md" PATTERN "*.svg" PATTERN "paper" EXCLUDE)
install(FILES "${PROJECT_SOURCE_DIR}/examples/training_loop.cpp"
        DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples")
if(INVAR_BUILD_EXAMPLES)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/examples/configs"
          DESTINATION "${CMAKE_INSTALL_DATADIR}/invar")
endif()
if(INVAR_PRIVATE_ONEDNN)
  install(DIRECTORY "${INVAR_DEPS_DIR}/onednn/" DESTINATION "${CMAKE_INSTALL_LIBDIR}/invar/onednn")
endif()
