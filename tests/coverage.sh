#!/usr/bin/env bash
# Runs the suite in a build that counts (preset coverage), and prints, for each file of src/, the share of its lines that
# ran and the lines that did not. Where tests fail it prints all the same, and ends as they do.
#
#   tests/coverage.sh [CTEST ARGUMENTS...]
#
#   tests/coverage.sh -L unit     what the unit tests alone reach
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/coverage

tests/install_packages.sh --coverage
# Counts of an earlier run would be added to.
[ ! -d "$build" ] || find "$build" -name '*.gcda' -delete
rc=0
tests/run.sh --preset coverage "$@" || rc=$?
# Processes that a test kills write no counts: what ran in them alone counts as missing.
gcovr --root . --filter src/ --sort-uncovered --print-summary "$build"
exit $rc
