# Finds rabbitmq-c 0.11 or later as the target RabbitMQC::RabbitMQC, static or shared.
#
# Its own CMake config is not asked: on Debian 12 its targets carry no include directory and its version is
# the ABI's number. Headers and library are found by themselves, the version is read from the header.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_RabbitMQC QUIET librabbitmq)
endif()

find_path(RabbitMQC_INCLUDE_DIR NAMES rabbitmq-c/amqp.h amqp.h HINTS ${PC_RabbitMQC_INCLUDE_DIRS})
find_library(RabbitMQC_LIBRARY NAMES rabbitmq rabbitmq.4 librabbitmq librabbitmq.4 HINTS ${PC_RabbitMQC_LIBRARY_DIRS})

if(RabbitMQC_INCLUDE_DIR)
  set(header "${RabbitMQC_INCLUDE_DIR}/amqp.h")
  if(EXISTS "${RabbitMQC_INCLUDE_DIR}/rabbitmq-c/amqp.h")
    set(header "${RabbitMQC_INCLUDE_DIR}/rabbitmq-c/amqp.h")
  endif()
  set(RabbitMQC_VERSION "")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${header}" line REGEX "#define AMQP_VERSION_${part} ")
    string(REGEX MATCH "[0-9]+" number "${line}")
    list(APPEND RabbitMQC_VERSION ${number})
  endforeach()
  list(JOIN RabbitMQC_VERSION "." RabbitMQC_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RabbitMQC
  REQUIRED_VARS RabbitMQC_LIBRARY RabbitMQC_INCLUDE_DIR
  VERSION_VAR RabbitMQC_VERSION)
mark_as_advanced(RabbitMQC_INCLUDE_DIR RabbitMQC_LIBRARY)

if(RabbitMQC_FOUND AND NOT TARGET RabbitMQC::RabbitMQC)
  add_library(RabbitMQC::RabbitMQC UNKNOWN IMPORTED)
  set_target_properties(RabbitMQC::RabbitMQC PROPERTIES
    IMPORTED_LOCATION "${RabbitMQC_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${RabbitMQC_INCLUDE_DIR}")
endif()
