#!/usr/bin/env bash
# Builds the fuzzers (preset fuzz: clang, libFuzzer, address and undefined behaviour sanitizers), runs one of them or all,
# and prints executions, executions a second, and which lines of src/wire ran. Ends with 1 after a finding, or if all of them
# together reach less than 90 % of these lines.
#
#   tests/fuzz/run.sh TARGET|all SECONDS     for so long each; corpora are kept in build/fuzz/corpus/
#   tests/fuzz/run.sh TARGET FILE...         these inputs alone, such as those of a finding
#   tests/fuzz/run.sh --list                 the targets
#   tests/fuzz/run.sh --coverage             the lines of src/wire that the latest runs reached, with those that are missing
#
#   WARREN_FUZZ_JOBS=2 tests/fuzz/run.sh all 30     two targets at once
#   WARREN_FUZZ_BUILD=... names another folder than build/fuzz, which is then not built by this
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${WARREN_FUZZ_BUILD:-build/fuzz}
usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
targets() { for each in "$build"/tests/fuzz/warren_fuzz_*; do [ ! -x "$each" ] || echo "${each##*/warren_fuzz_}"; done; }
# The tools of the compiler that built them.
tool() { "$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")" -print-prog-name="$1"; }

coverage() { # COMMAND [OPTION...] of llvm-cov; the counts of all targets together
    local profiles=("$build"/profiles/*.profraw) objects=() each command=$1
    shift
    [ -e "${profiles[0]}" ] || { echo "${0##*/}: nothing has run yet" >&2; return 1; }
    "$(tool llvm-profdata)" merge -sparse -o "$build/profiles/all.profdata" "${profiles[@]}"
    for each in $(targets); do objects+=(-object "$build/tests/fuzz/warren_fuzz_$each"); done
    # Mismatched is what each target has of its own under one name: fuzz().
    "$(tool llvm-cov)" "$command" "$@" -instr-profile "$build/profiles/all.profdata" "${objects[@]:1}" src/wire \
        2> >(grep -v 'mismatched data' >&2)
}

# The lines that did not run: file, number, text.
missing() {
    coverage show | awk -v here="$PWD/" '/^\// { file = $0; sub(here, "", file); sub(/:$/, "", file) }
        /^ *[0-9]+\| *0\|/ { split($0, part, "|"); sub(/^ *[0-9]+\| *0\|/, ""); print file ":" part[1] + 0 ": " $0 }'
}

summary() { # [LEAST] percent, or it ends with 1
    echo "Lines of src/wire that ran:"
    coverage export -summary-only | python3 -c '
import json, os, sys
least = float(sys.argv[1])
data = json.load(sys.stdin)["data"][0]
def show(name, lines):
    print("  %-24s %5d of %5d  %6.2f %%" % (name, lines["covered"], lines["count"], lines["percent"]))
for file in data["files"]:
    show(os.path.basename(file["filename"]), file["summary"]["lines"])
lines = data["totals"]["lines"]
show("all", lines)
if lines["percent"] < least:
    sys.exit("the fuzzers reach less than %g %% of the lines of src/wire" % least)' "${1:-0}"
}

run_one() { # TARGET SECONDS
    local target=$1 seconds=$2 log="$build/log/$1.log" rc=0
    mkdir -p "$build/corpus/$target" "$build/findings" "$build/log" "$build/profiles" "$build/tmp"
    rm -f "$build/profiles/$target.profraw"
    TMPDIR="$PWD/$build/tmp" LLVM_PROFILE_FILE="$build/profiles/$target.profraw" \
        "$build/tests/fuzz/warren_fuzz_$target" -max_total_time="$seconds" -max_len=8192 -timeout=30 -rss_limit_mb=1024 \
        -dict=tests/fuzz/words.dict -print_final_stats=1 -print_funcs=0 -artifact_prefix="$build/findings/$target-" \
        "$build/corpus/$target" "$build/seeds/$target" > "$log" 2>&1 || rc=$?
    local executions rate edges
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    edges=$(grep -o ' cov: [0-9]*' "$log" | tail -n 1 | tr -dc 0-9) || true
    printf '%-12s %9s executions, %6s a second, %6s edges\n' "$target" "${executions:-?}" "${rate:-?}" "${edges:-?}"
    [ $rc -eq 0 ] && return
    grep -v '^#[0-9]*[[:space:]]\(NEW\|REDUCE\|pulse\|RELOAD\)' "$log" | tail -n 80 >&2
    echo "$target: a finding; its input is in $build/findings/; tests/fuzz/run.sh $target FILE repeats it" >&2
    return 1
}

[ $# -ge 1 ] || usage
case $1 in
    --one) run_one "$2" "$3"; exit ;;
    --coverage) summary; missing; exit ;;
esac
if [ -z "${WARREN_FUZZ_BUILD:-}" ]; then
    tests/install_packages.sh --fuzz
    cmake --preset fuzz > /dev/null
    cmake --build --preset fuzz
fi
if [ "$1" = --list ]; then targets; exit; fi
[ $# -ge 2 ] || usage
if [ "$1" != all ] && [ ! -x "$build/tests/fuzz/warren_fuzz_$1" ]; then
    echo "${0##*/}: no target $1; there are: $(targets | xargs)" >&2
    exit 2
fi
if [[ ! $2 =~ ^[0-9]+$ ]]; then
    target=$1
    shift
    LLVM_PROFILE_FILE=/dev/null exec "$build/tests/fuzz/warren_fuzz_$target" "$@"
fi
rm -rf "$build/seeds"
tests/fuzz/make_seeds.py "$build/seeds"
rc=0
chosen=$1
[ "$chosen" != all ] || chosen=$(targets)
xargs -P "${WARREN_FUZZ_JOBS:-1}" -I{} "tests/fuzz/${0##*/}" --one {} "$2" <<< "$chosen" || rc=1
rm -rf "$build/tmp"
if [ "$1" = all ]; then summary 90 || rc=1; else summary; fi
exit $rc
