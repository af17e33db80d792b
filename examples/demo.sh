#!/usr/bin/env bash
# The order system in a minute: installs what is missing (Debian packages), builds, starts a private broker, sends
# orders, restarts the broker, lets both consumers work until nothing is left, and counts.
#
#   examples/demo.sh [--url URL] [--orders N]
#
# With --url it uses that broker as it is, and does not restart it. Ends with `lost 0` and 0, or with anything else and 1.
set -euo pipefail
cd "$(dirname "$0")/.."

url=
orders=20
while [ $# -gt 0 ]; do
  case $1 in
    --url) url=${2:?--url needs a value}; shift 2 ;;
    --orders) orders=${2:?--orders needs a value}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "${0##*/}: unknown argument: $1" >&2; exit 2 ;;
  esac
done
case $orders in *[!0-9]* | '' | 0) echo "${0##*/}: --orders needs a number" >&2; exit 2 ;; esac

say() { printf '\n== %s\n' "$*"; }
broker=tests/support/private_broker.sh
programs=build/demo/examples

say "Installing and building"
tests/install_packages.sh
cmake -S . -B build/demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DWARREN_BUILD_EXAMPLES=ON > /dev/null
cmake --build build/demo

folder=$(mktemp -d)
clean_up() {
  [ -n "$url_given" ] || "$broker" stop "$folder/broker" || true
  rm -rf "$folder"
}
url_given=$url
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "$url_given" ]; then
  say "Starting a private broker"
  url=$("$broker" start "$folder/broker")
fi
export AMQP_URL=$url

# A run of its own in queues that may hold others' orders, too: its numbers tell them apart.
first=$(($(date +%s) * 1000))
say "Sending $orders orders"
"$programs/orders_producer" --count "$orders" --first "$first" | tee "$folder/sent"

if [ -z "$url_given" ]; then
  say "Restarting the broker"
  "$broker" restart "$folder/broker" > /dev/null
fi

say "Processing them: half of the attempts fail, on purpose"
"$programs/orders_consumer" --exit-when-idle 1 | tee "$folder/first"
say "Trying again what failed"
"$programs/orders_retry_consumer" --exit-when-idle 1 | tee "$folder/retried"

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
