#!/bin/sh
# Prints the package of the newest clang that apt knows, such as clang-22. Its compiler is clang++-22.
set -eu
newest=$(apt-cache search --names-only '^clang-[0-9]+$' | sed 's/ .*//' | sort -V | tail -n 1)
[ -n "$newest" ] || { echo "${0##*/}: apt offers no clang-N" >&2; exit 1; }
echo "$newest"
