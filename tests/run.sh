#!/usr/bin/env bash
# Installs what is missing (Debian packages), builds, runs every test. CTest starts a private broker for the tests
# that need one, and stops it.
#
#   tests/run.sh [--preset PRESET] [CTEST ARGUMENTS...]
#
#   tests/run.sh -L unit          the tests of one label: unit, integration (the programs too), faults, package
#   tests/run.sh -R publisher     the tests of that name
#   tests/run.sh --preset tsan    under a sanitizer: asan (address, undefined behaviour) or tsan; default: dev
#   WARREN_BUILD_TARGETS='warren_unit_tests' tests/run.sh -L unit    builds these alone
set -euo pipefail
cd "$(dirname "$0")/.."
preset=dev
if [ "${1:-}" = --preset ]; then
    preset=${2:?which preset?}
    shift 2
fi

tests/install_packages.sh
cmake --preset "$preset"
# shellcheck disable=SC2086
cmake --build --preset "$preset" ${WARREN_BUILD_TARGETS:+--target $WARREN_BUILD_TARGETS}

# The thread sanitizer's shadow memory collides with addresses that some kernels randomise too widely.
launch=()
if [ "$preset" = tsan ] && setarch "$(uname -m)" -R true 2> /dev/null; then
    launch=(setarch "$(uname -m)" -R)
fi
# When it is interrupted, CTest does not get to stopping the broker.
trap 'for label in integration faults; do tests/support/with_broker.sh "build/$preset/tests/broker.$label" stop; done' EXIT
"${launch[@]}" ctest --preset "$preset" "$@"
