# cmake -DSOURCE=... -P versions.cmake: what says warren's version says the same, so that a release changes all of it.
cmake_minimum_required(VERSION 3.25)

file(STRINGS "${SOURCE}/include/warren/version.hpp" lines REGEX "#define WARREN_VERSION_")
foreach(part MAJOR MINOR PATCH STRING)
  string(REGEX MATCH "WARREN_VERSION_${part} \"?([0-9.]+)" found "${lines}")
  set(${part} "${CMAKE_MATCH_1}")
endforeach()
if(NOT STRING STREQUAL "${MAJOR}.${MINOR}.${PATCH}")
  message(SEND_ERROR "version.hpp: ${STRING} is not ${MAJOR}.${MINOR}.${PATCH}")
endif()

foreach(manifest cmake/vcpkg/vcpkg.json cmake/vcpkg/ports/warren/vcpkg.json)
  file(READ "${SOURCE}/${manifest}" text)
  string(JSON version GET "${text}" version-semver)
  if(NOT version STREQUAL STRING)
    message(SEND_ERROR "${manifest}: ${version}, but version.hpp: ${STRING}")
  endif()
endforeach()
