#!/usr/bin/env bash
# No object with a destructor at namespace scope in the library, and none that is static in a function: a Connection at
# namespace scope, or a publish in a static object's destructor, may use them before they are made or after they are
# gone. Arguments: libwarren.a, nm.
set -euo pipefail
library=${1:?} nm=${2:?}

symbols=$("$nm" --print-file-name "$library")
# Else the check below would pass for anything.
if ! grep -q 'Connection.*close' <<<"$symbols"; then
  echo "$library has no symbols of warren's" >&2
  exit 1
fi
# __cxa_atexit: a destructor that runs at the end. _GLOBAL__sub_I: a constructor that runs before main(). Sanitizers and
# coverage have such functions of their own, whose names go on with a priority: _GLOBAL__sub_I_00099_1.
if faults=$(grep -E '__cxa_atexit|_GLOBAL__sub_I_[^0]' <<<"$symbols"); then
  echo "objects with a constructor or destructor at namespace scope, or static in a function:" >&2
  echo "$faults" >&2
  exit 1
fi
