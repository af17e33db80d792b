# What `cmake --install` puts where. Components: warren_Runtime (the shared library), warren_Development (the rest).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(WARREN_INSTALL_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/warren"
    CACHE STRING "Where warren's CMake package goes, below the prefix")
mark_as_advanced(WARREN_INSTALL_CMAKEDIR)

install(TARGETS warren EXPORT warren-targets
  RUNTIME COMPONENT warren_Runtime
  LIBRARY COMPONENT warren_Runtime NAMELINK_COMPONENT warren_Development
  ARCHIVE COMPONENT warren_Development
  FILE_SET HEADERS COMPONENT warren_Development)
install(EXPORT warren-targets NAMESPACE warren::
  DESTINATION "${WARREN_INSTALL_CMAKEDIR}" COMPONENT warren_Development)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
  DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT warren_Runtime)

configure_package_config_file(cmake/warren-config.cmake.in warren-config.cmake
  INSTALL_DESTINATION "${WARREN_INSTALL_CMAKEDIR}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(warren-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/warren-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/warren-config-version.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/FindRabbitMQC.cmake"
  DESTINATION "${WARREN_INSTALL_CMAKEDIR}" COMPONENT warren_Development)

# For pkg-config. The prefix is found from where the file lies, so that the tree may be moved.
set(pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${pc_dir}")
  file(RELATIVE_PATH up "/${pc_dir}" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
endif()
set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
foreach(dir IN ITEMS pc_libdir pc_includedir)
  if(NOT IS_ABSOLUTE "${${dir}}")
    string(PREPEND ${dir} "\${prefix}/")
  endif()
endforeach()
# A shared library brings its own dependencies: who links it needs neither their headers nor their .pc files. Who links
# the archive needs them always, with and without --static, which would ask for all that OpenSSL's own archive needs.
set(pc_requires "")
set(pc_libs "")
set(pc_cflags "")
if(NOT BUILD_SHARED_LIBS)
  set(pc_requires "Requires: fmt, librabbitmq\n")
  if(WARREN_HAS_TLS)
    set(pc_requires "Requires: fmt, librabbitmq, openssl\n")
  endif()
  if(CMAKE_THREAD_LIBS_INIT)
    set(pc_libs " ${CMAKE_THREAD_LIBS_INIT}")
  endif()
  set(pc_cflags " -DWARREN_STATIC_DEFINE")
endif()
configure_file(cmake/warren.pc.in warren.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/warren.pc" DESTINATION "${pc_dir}" COMPONENT warren_Development)
