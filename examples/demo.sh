#!/usr/bin/env bash
# The order system in a minute: installs what is missing (Debian packages), builds, starts a private broker, sends
# orders, restarts the broker, lets both consumers work until nothing is left, and counts.
#
#   examples/demo.sh [--url URL | --chaos] [--orders N] [--programs FOLDER]
#
# With --chaos the broker is killed and started again while each of the programs works, and there are 20,000 orders.
# With --url it uses that broker as it is, and does not restart it; nobody else should consume its orders meanwhile.
# With --programs it takes the programs from there, and neither installs nor builds. Ends with `lost 0` and exit code 0,
# or with another one.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)

url=
orders=
chaos=
programs=
while [ $# -gt 0 ]; do
  case $1 in
    --url) url=${2:?--url needs a value}; shift 2 ;;
    --programs) programs=$(cd "${2:?--programs needs a value}" && pwd); shift 2 ;;
    --chaos) chaos=1; shift ;;
    --orders) orders=${2:?--orders needs a value}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "${0##*/}: unknown argument: $1" >&2; exit 2 ;;
  esac
done
[ -z "$chaos" ] || [ -z "$url" ] || { echo "${0##*/}: --chaos needs a broker of its own" >&2; exit 2; }
[ -n "$orders" ] || orders=$([ -z "$chaos" ] && echo 20 || echo 20000)
case $orders in *[!0-9]* | '' | 0*) echo "${0##*/}: --orders needs a number" >&2; exit 2 ;; esac

say() { printf '\n== %s\n' "$*"; }
broker=$source/tests/support/private_broker.sh

if [ -z "$programs" ]; then
  say "Installing and building"
  "$source/tests/install_packages.sh"
  cmake -S "$source" -B "$source/build/demo" -G Ninja -DCMAKE_BUILD_TYPE=Release -DWARREN_BUILD_EXAMPLES=ON > /dev/null
  cmake --build "$source/build/demo"
  programs=$source/build/demo/examples
fi

folder=$(mktemp -d)
url_given=$url
program=
clean_up() {
  [ -z "$program" ] || kill "$program" 2> /dev/null || true
  [ -n "$url_given" ] || "$broker" stop "$folder/broker" || true
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "$url_given" ]; then
  say "Starting a private broker"
  url=$("$broker" start "$folder/broker")
fi
export AMQP_URL=$url

# Runs a program, its lines into a file. With --chaos the broker dies once there are some of them; the program has no code
# of its own for that.
run() { # FILE PROGRAM ARGUMENTS...
  local file=$1
  shift
  if [ -z "$chaos" ]; then
    "$@" | tee "$file"
    return
  fi
  "$@" > "$file" 2> "$file.errors" &
  program=$!
  until [ "$(wc -l < "$file")" -ge $((orders / 20)) ]; do
    kill -0 "$program" 2> /dev/null || { cat "$file.errors" >&2; exit 1; }
    sleep 0.01
  done
  "$broker" kill "$folder/broker"
  kill -0 "$program" 2> /dev/null || { echo "it was done before the broker died: take more --orders" >&2; exit 1; }
  echo "broker killed after $(wc -l < "$file") lines"
  "$broker" restart "$folder/broker" > /dev/null
  wait "$program" || { tail -n 5 "$file.errors" >&2; exit 1; }
  program=
  echo "ended after $(wc -l < "$file") lines"
}

# RabbitMQ 3.10 may lose a quorum queue that was declared seconds before it was killed: those that orders_retry_consumer
# waits in are declared ahead, as an operator would. A clean restart keeps them.
if [ -n "$chaos" ]; then
  say "Declaring the queues"
  "$programs/orders_retry_consumer" --exit-when-idle 0
  "$broker" restart "$folder/broker" > /dev/null
fi

# A given broker may hold orders of others, or of an earlier run: numbers of its own tell this run's apart.
first=1
[ -z "$url_given" ] || first=$(($(date +%s) * 1000))
say "Sending $orders orders"
run "$folder/sent" "$programs/orders_producer" --count "$orders" --first "$first"

if [ -z "$url_given" ] && [ -z "$chaos" ]; then
  say "Restarting the broker"
  "$broker" restart "$folder/broker" > /dev/null
fi

say "Processing them: half of the attempts fail, on purpose"
run "$folder/first" "$programs/orders_consumer" --exit-when-idle 1
say "Trying again what failed"
run "$folder/retried" "$programs/orders_retry_consumer" --exit-when-idle 1

ids() { sed -n "s/^$1 //p" "$2" | sort -u; }
ids "Queued order" "$folder/sent" > "$folder/sent.ids"
ids "Processed order" "$folder/first" > "$folder/first.ids"
ids "Processed order" "$folder/retried" > "$folder/retried.ids"
"$programs/orders_parked" list > "$folder/parked"
sed -n 's/^Parked order \([^:]*\):.*/\1/p' "$folder/parked" | sort -u | comm -12 - "$folder/sent.ids" > "$folder/parked.ids"
sort -u "$folder/first.ids" "$folder/retried.ids" "$folder/parked.ids" > "$folder/found.ids"
# Of the orders sent by this run only.
count() { comm -12 "$folder/sent.ids" "$1" | wc -l; }
lost=$(comm -23 "$folder/sent.ids" "$folder/found.ids" | wc -l)

say "Done"
printf '%-28s %6d\n' \
  "sent" "$(wc -l < "$folder/sent.ids")" \
  "processed the first time" "$(count "$folder/first.ids")" \
  "processed after retries" "$(count "$folder/retried.ids")" \
  "parked" "$(wc -l < "$folder/parked.ids")"
echo "lost $lost"
[ "$lost" = 0 ] && [ "$(wc -l < "$folder/sent.ids")" = "$orders" ]
