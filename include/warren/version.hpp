#pragma once

// Every public header includes this one, directly or not, before its first declaration.
#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#error \
    "warren needs C++20: compile with -std=c++20 (MSVC: /std:c++20), or in CMake link warren::warren, which asks for it."
// Including a missing file ends the compilation, so that no other error hides the one above.
#include <warren/_the_compiler_is_set_to_an_older_standard_than_cxx20>
#endif

#define WARREN_VERSION_MAJOR 0
#define WARREN_VERSION_MINOR 1
#define WARREN_VERSION_PATCH 0
#define WARREN_VERSION_STRING "0.1.0"
