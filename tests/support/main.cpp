// Catch2 3 has a library with main(); Catch2 2 makes it from this define.
#define CATCH_CONFIG_MAIN
#include "support/catch.hpp"
