#!/usr/bin/env bash
# The broker that the integration tests of one run share, as CTest's fixture calls it.
#
#   with_broker.sh LINK start            starts it in a new folder; LINK becomes a link to that folder
#   with_broker.sh LINK run COMMAND...   runs a test with AMQP_URL and WARREN_TEST_BROKER_DIR set
#   with_broker.sh LINK stop             stops it, and the brokers that tests left behind
#
# A broker belongs to the CTest that called start. Another one may only end it once that is gone.
set -euo pipefail

private_broker=${BASH_SOURCE[0]%/*}/private_broker.sh
link=$1
command=$2
shift 2

# The process id of another run that uses the broker in the folder, where there is one.
other_run() { # FOLDER
    local owner
    owner=$(cat "$1/owner" 2> /dev/null) || return 1
    [ "$owner" != $PPID ] && [ "$(cat "/proc/$owner/comm" 2> /dev/null)" = ctest ] && echo "$owner"
}

stop() {
    local folder own
    folder=$(readlink "$link") || return 0
    ! other_run "$folder" > /dev/null || return 0
    for own in "$folder"/own/*/; do
        [ ! -d "$own" ] || "$private_broker" stop "$own"
    done
    "$private_broker" stop "$folder"
    rm -rf "$folder" "$link"
}

case $command in
    start)
        if folder=$(readlink "$link") && owner=$(other_run "$folder"); then
            echo "${0##*/}: ctest, process $owner, runs in this build folder already" >&2
            exit 1
        fi
        stop # what an interrupted run left
        folder=$(mktemp -d)
        echo "$PPID" > "$folder/owner"
        ln -s "$folder" "$link"
        "$private_broker" start "$folder"
        ;;
    run)
        WARREN_TEST_BROKER_DIR=$(readlink "$link")
        AMQP_URL=$("$private_broker" url "$WARREN_TEST_BROKER_DIR")
        export WARREN_TEST_BROKER_DIR AMQP_URL
        exec "$@"
        ;;
    stop) stop ;;
    *)
        echo "${0##*/}: no command '$command'" >&2
        exit 2
        ;;
esac
