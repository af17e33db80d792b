#!/usr/bin/env bash
# Installs what is missing (Debian packages), builds, starts a private broker, runs every test, stops the broker.
# Arguments go to ctest: tests/run.sh -L unit
set -euo pipefail
cd "$(dirname "$0")/.."
tests/install_packages.sh
cmake -S . -B build/tests -G Ninja -DCMAKE_BUILD_TYPE=Debug -DWARREN_BUILD_TESTS=ON \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
cmake --build build/tests

broker=tests/support/private_broker.sh
folder=$(mktemp -d)
trap '"$broker" stop "$folder" || true; rm -rf "$folder"' EXIT
AMQP_URL=$("$broker" start "$folder")
export AMQP_URL
ctest --test-dir build/tests --output-on-failure "$@"
