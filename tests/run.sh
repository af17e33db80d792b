#!/usr/bin/env bash
# Installs what is missing (Debian packages), builds, and runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/install_packages.sh
cmake -S . -B build/tests -G Ninja -DCMAKE_BUILD_TYPE=Debug -DWARREN_BUILD_TESTS=ON
cmake --build build/tests
ctest --test-dir build/tests --output-on-failure "$@"
