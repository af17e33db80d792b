# Finds rabbitmq-c 0.11 or later as the target RabbitMQC::RabbitMQC, static or shared. It is installed beside
# warren's package, which needs it where warren is static.
#
# Its own CMake config is not asked: on Debian 12 its targets carry no include directory and its version is
# the ABI's number. Headers and library are found by themselves, the version is read from the header.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_RabbitMQC QUIET librabbitmq)
endif()

find_path(RabbitMQC_INCLUDE_DIR NAMES rabbitmq-c/amqp.h amqp.h HINTS ${PC_RabbitMQC_INCLUDE_DIRS})
find_library(RabbitMQC_LIBRARY NAMES rabbitmq rabbitmq.4 librabbitmq librabbitmq.4 HINTS ${PC_RabbitMQC_LIBRARY_DIRS})
mark_as_advanced(RabbitMQC_INCLUDE_DIR RabbitMQC_LIBRARY)

set(RabbitMQC_VERSION "")
set(_RabbitMQC_required RabbitMQC_LIBRARY RabbitMQC_INCLUDE_DIR)
set(_RabbitMQC_links "")
if(RabbitMQC_INCLUDE_DIR)
  set(_RabbitMQC_header "${RabbitMQC_INCLUDE_DIR}/amqp.h")
  if(EXISTS "${RabbitMQC_INCLUDE_DIR}/rabbitmq-c/amqp.h")
    set(_RabbitMQC_header "${RabbitMQC_INCLUDE_DIR}/rabbitmq-c/amqp.h")
  endif()
  foreach(_RabbitMQC_part MAJOR MINOR PATCH)
    file(STRINGS "${_RabbitMQC_header}" _RabbitMQC_line REGEX "#define AMQP_VERSION_${_RabbitMQC_part} ")
    string(REGEX MATCH "[0-9]+" _RabbitMQC_line "${_RabbitMQC_line}")
    list(APPEND RabbitMQC_VERSION "${_RabbitMQC_line}")
  endforeach()
  list(JOIN RabbitMQC_VERSION "." RabbitMQC_VERSION)

  # An archive that was built with TLS leaves OpenSSL to the program that links it.
  if(RabbitMQC_LIBRARY MATCHES "\\.a$" AND
     (EXISTS "${RabbitMQC_INCLUDE_DIR}/amqp_ssl_socket.h" OR EXISTS "${RabbitMQC_INCLUDE_DIR}/rabbitmq-c/ssl_socket.h"))
    find_package(OpenSSL QUIET)
    find_package(Threads QUIET)
    list(APPEND _RabbitMQC_required OPENSSL_FOUND Threads_FOUND)
    set(_RabbitMQC_links OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RabbitMQC
  REQUIRED_VARS ${_RabbitMQC_required}
  VERSION_VAR RabbitMQC_VERSION)

if(RabbitMQC_FOUND AND NOT TARGET RabbitMQC::RabbitMQC)
  add_library(RabbitMQC::RabbitMQC UNKNOWN IMPORTED)
  set_target_properties(RabbitMQC::RabbitMQC PROPERTIES
    IMPORTED_LOCATION "${RabbitMQC_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${RabbitMQC_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "${_RabbitMQC_links}")
  # vcpkg has one in lib and one in debug/lib. Its toolchain file puts the right one first, but where a generator makes
  # several configurations, that is the debug one for all.
  get_property(_RabbitMQC_multi GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  string(REPLACE "/debug/lib/" "/lib/" _RabbitMQC_release "${RabbitMQC_LIBRARY}")
  if(_RabbitMQC_multi AND EXISTS "${_RabbitMQC_release}")
    set_target_properties(RabbitMQC::RabbitMQC PROPERTIES
      IMPORTED_LOCATION "${_RabbitMQC_release}"
      IMPORTED_LOCATION_DEBUG "${RabbitMQC_LIBRARY}")
  endif()
endif()
foreach(_RabbitMQC_name header line links multi part release required)
  unset(_RabbitMQC_${_RabbitMQC_name})
endforeach()
unset(_RabbitMQC_name)
