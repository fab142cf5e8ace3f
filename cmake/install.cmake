# What `cmake --install` writes: headers, the compiled kernels, the package for find_package, files for
# pkg-config, and the mini-trainer where it was built. The folder may be moved afterwards.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(zoq_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/zoq")
install(TARGETS zoq_headers zoq_io zoq_kernels EXPORT zoq-targets
        FILE_SET HEADERS FILE_SET parts FILE_SET thrust FILE_SET mpi)
foreach(optional zoq_mpi zoq_omp zoq_cuda)
  if(TARGET ${optional})
    install(TARGETS ${optional} EXPORT zoq-targets)
  endif()
endforeach()
if(TARGET zoq)
  install(TARGETS zoq)
endif()
if(TARGET zoq-mpi)
  install(TARGETS zoq-mpi)
endif()

install(EXPORT zoq-targets NAMESPACE zoq:: DESTINATION "${zoq_cmake_dir}")
configure_package_config_file(cmake/zoq-config.cmake.in zoq-config.cmake
                              INSTALL_DESTINATION "${zoq_cmake_dir}")
# Before 1.0 a new minor version may change what programs see.
write_basic_package_version_file(zoq-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/zoq-config.cmake" "${PROJECT_BINARY_DIR}/zoq-config-version.cmake"
              cmake/FindRandom123.cmake cmake/FindPCRE2.cmake cmake/FindThrust.cmake
        DESTINATION "${zoq_cmake_dir}")

# The files of pkg-config find their headers from where they lie themselves.
set(zoq_pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig"
           OUTPUT_VARIABLE zoq_prefix)
foreach(part zoq zoq-io zoq-kernels)
  configure_file(cmake/${part}.pc.in ${part}.pc @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${part}.pc" DESTINATION "${zoq_pkgconfig_dir}")
endforeach()
