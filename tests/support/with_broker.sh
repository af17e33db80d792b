#!/usr/bin/env bash
# The broker that the integration tests of one run share, as CTest's fixture calls it.
#
#   with_broker.sh LINK start            starts it in a new folder; LINK becomes a link to that folder
#   with_broker.sh LINK run COMMAND...   runs a test with AMQP_URL and WARREN_TEST_BROKER_DIR set
#   with_broker.sh LINK stop             stops it, and the brokers that tests left behind
set -euo pipefail

private_broker=${BASH_SOURCE[0]%/*}/private_broker.sh
link=$1
command=$2
shift 2

stop() {
    local folder own
    folder=$(readlink "$link") || return 0
    for own in "$folder"/own/*/; do
        [ ! -d "$own" ] || "$private_broker" stop "$own"
    done
    "$private_broker" stop "$folder"
    rm -rf "$folder" "$link"
}

case $command in
    start)
        stop # what an interrupted run left
        ln -s "$(mktemp -d)" "$link"
        "$private_broker" start "$(readlink "$link")"
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
