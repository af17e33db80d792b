#!/usr/bin/env bash
# An application at work (publishing, consuming, retries) for a long time, while its connections are cut every few seconds and
# its broker restarts each minute. What the process holds and how long the queues are is sampled once a second, and drawn in
# the end. It fails if any of that rises (a line by least squares: tests/faults/soak_report.py), or if a message was lost.
#
#   tests/soak.sh [MINUTES] [SEED]    30 by default; at least 1. A seed that was printed repeats the cuts.
#
# Leaves build/dev/soak/samples.csv and build/dev/soak/soak.svg.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-30}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { sed -n 's/^#   //p' "$0" >&2; exit 2; }

tests/install_packages.sh
cmake --preset dev > /dev/null
cmake --build --preset dev --target warren_soak
out=build/dev/soak
mkdir -p "$out"
rc=0
build/dev/tests/warren_soak $((minutes * 60)) ${2:+"$2"} > "$out/samples.csv" || rc=$?
tests/faults/soak_report.py "$out/samples.csv" "$out/soak.svg" || rc=1
echo "drawn in $out/soak.svg"
exit $rc
