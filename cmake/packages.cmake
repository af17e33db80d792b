# What `cpack` makes, in a build of warren itself: .deb and .tar.gz (preset `package`). A shared build
# gives libwarren0.MINOR and libwarren-dev, a static one libwarren-dev alone.
set(soname_version "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_PACKAGE_NAME warren)
set(CPACK_PACKAGE_VENDOR "The warren authors")
set(CPACK_PACKAGE_CONTACT "The warren authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_STRIP_FILES ON)
set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME "warren-${PROJECT_VERSION}")
# Below this tree alone: what it lies in may be called the same.
string(REGEX REPLACE "[^A-Za-z0-9/_-]" "." tree "${PROJECT_SOURCE_DIR}")
string(CONCAT CPACK_SOURCE_IGNORE_FILES
       "^${tree}/[.]git/;^${tree}/build[^/]*/;^${tree}/B/;^${tree}/out/;^${tree}/bench-results/;^${tree}/[.]cache/")

# The archive is one, the Debian packages follow the components.
set(CPACK_ARCHIVE_COMPONENT_INSTALL OFF)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL warren_Development)
if(BUILD_SHARED_LIBS)
  list(PREPEND CPACK_COMPONENTS_ALL warren_Runtime)
endif()

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_WARREN_RUNTIME_PACKAGE_NAME "libwarren${soname_version}")
set(CPACK_DEBIAN_WARREN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_WARREN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_WARREN_RUNTIME_DESCRIPTION "The shared library that programs built with warren run with.")
set(CPACK_DEBIAN_WARREN_DEVELOPMENT_PACKAGE_NAME libwarren-dev)
set(CPACK_DEBIAN_WARREN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_WARREN_DEVELOPMENT_DESCRIPTION "Headers, and what CMake and pkg-config need to build with warren.")
if(BUILD_SHARED_LIBS)
  # Programs that link it depend on this package by their own dpkg-shlibdeps.
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_WARREN_DEVELOPMENT_PACKAGE_DEPENDS
      "libwarren${soname_version} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
else()
  set(CPACK_DEBIAN_WARREN_DEVELOPMENT_PACKAGE_DEPENDS "libfmt-dev, librabbitmq-dev")
  if(WARREN_HAS_TLS)
    string(APPEND CPACK_DEBIAN_WARREN_DEVELOPMENT_PACKAGE_DEPENDS ", libssl-dev")
  endif()
endif()

# Debian wants the licence below the name of each package.
file(CONFIGURE OUTPUT copyright.cmake @ONLY CONTENT [[
if(CPACK_GENERATOR STREQUAL "DEB")
  file(REMOVE_RECURSE "${CPACK_TEMPORARY_DIRECTORY}/warren_Runtime/usr/share/doc/warren")
  foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    string(TOUPPER "${component}" name)
    set(name "${CPACK_DEBIAN_${name}_PACKAGE_NAME}")
    configure_file("@PROJECT_SOURCE_DIR@/LICENSE"
      "${CPACK_TEMPORARY_DIRECTORY}/${component}/usr/share/doc/${name}/copyright" COPYONLY)
  endforeach()
endif()
]])
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_BINARY_DIR}/copyright.cmake")
include(CPack)
