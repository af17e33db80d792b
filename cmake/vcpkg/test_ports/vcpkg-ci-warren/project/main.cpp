// Needs no broker: it looks whether the library links, runs, and throws its own exceptions across its border.
#include <cstdio>

#include <warren/warren.hpp>

int main() {
  try {
    const warren::Connection connection{"http://localhost/"};
    return 1;
  } catch (const warren::InvalidArgument& error) {
    std::printf("warren %s: %s\n", WARREN_VERSION_STRING, error.what());
  }
}
