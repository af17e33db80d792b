#!/usr/bin/env bash
# Compares warren with rabbitmq-c, and with Debian's aio-pika where it is installed: alternates the clients for
# some rounds, and prints medians and medians of ratios as a table.
#
#   tests/bench/compare.sh [--bench B/tests/bench/warren_bench] [--rounds 5] [--only REGEX] [--out FOLDER]
#                          [--url AMQP_URL] [--tls-url AMQPS_URL]
#
# FOLDER (default bench-results) gets runs.jsonl, results.csv and results.svg. Without --url it starts a private
# broker, with TLS where openssl is installed, and stops it. --only takes rows whose name matches.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..

bench=$root/B/tests/bench/warren_bench
rounds=5
only=.
out="bench-results"
url=
tls_url=
while [ $# -gt 0 ]; do
  case $1 in
    --bench) bench=$2 ;;
    --rounds) rounds=$2 ;;
    --only) only=$2 ;;
    --out) out=$2 ;;
    --url) url=$2 ;;
    --tls-url) tls_url=$2 ;;
    *)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
[ -x "$bench" ] || { echo "no $bench: build with -DWARREN_BUILD_BENCHMARKS=ON, or say --bench" >&2; exit 2; }
[ "$rounds" -ge 1 ] || { echo "--rounds: at least 1" >&2; exit 2; }

broker=$root/tests/support/private_broker.sh
folder=$(mktemp -d)
trap '"$broker" stop "$folder/broker"; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

make_certificates() { # an authority, and the broker's certificate for localhost
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=warren benchmark" \
    -keyout "$folder/ca.key" -out "$folder/ca.pem"
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$folder/key.pem" -out "$folder/request.pem"
  openssl x509 -req -in "$folder/request.pem" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "subjectAltName=DNS:localhost") -out "$folder/certificate.pem"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

if [ -z "$url" ]; then
  if [ -z "$tls_url" ] && command -v openssl > /dev/null && make_certificates > "$folder/openssl.log" 2>&1; then
    port=$(free_port)
    WARREN_BROKER_CONF="listeners.ssl.1 = 127.0.0.1:$port
ssl_options.cacertfile = $folder/ca.pem
ssl_options.certfile = $folder/certificate.pem
ssl_options.keyfile = $folder/key.pem
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false"
    export WARREN_BROKER_CONF
    tls_url="amqps://guest:guest@localhost:$port/%2f?cacertfile=$folder/ca.pem"
  fi
  url=$("$broker" start "$folder/broker")
fi

# Name | clients | broker | what warren_bench is told. aio-pika's runs are a tenth as long.
rows() {
  cat << 'END'
publish confirmed, window 256|rabbitmq-c warren aio-pika|real|publish-confirmed --messages 50000
publish unconfirmed|rabbitmq-c warren aio-pika|real|publish-unconfirmed --messages 100000
consume, ack each|rabbitmq-c warren aio-pika|real|consume --messages 50000
consume, merged acks|rabbitmq-c warren|real|consume-manual --messages 50000
round trip|rabbitmq-c warren aio-pika|real|round-trip --messages 10000
publish confirmed, window 1|rabbitmq-c warren|real|publish-confirmed --messages 1000 --window 1
publish confirmed, 8 threads|rabbitmq-c warren|real|publish-confirmed --messages 50000 --threads 8
publish confirmed, TLS|rabbitmq-c warren|tls|publish-tls --messages 50000
publish confirmed, 64 KiB|rabbitmq-c warren|real|publish-large --messages 5000
publish confirmed, 1 MiB|rabbitmq-c warren|real|publish-large --messages 1000 --size 1048576
consume, 64 KiB|rabbitmq-c warren|real|consume --messages 2000 --size 65536 --window 16
null broker: publish confirmed|rabbitmq-c warren|null|publish-confirmed --messages 300000
null broker: publish confirmed, 8 threads|rabbitmq-c warren|null|publish-confirmed --messages 300000 --threads 8
null broker: publish unconfirmed|rabbitmq-c warren|null|publish-unconfirmed --messages 300000
null broker: consume, ack each|rabbitmq-c warren|null|consume --messages 300000
null broker: publish confirmed, window 1|rabbitmq-c warren|null|publish-confirmed --messages 20000 --window 1
null broker: round trip|rabbitmq-c warren|null|round-trip --messages 20000
END
}

run() { # CLIENT BROKER ARGUMENTS...
  local client=$1 kind=$2
  shift 2
  if [ "$client" = aio-pika ]; then
    /usr/bin/python3 "$here/aio_pika_client.py" "$1" --url "$url" --messages $(($3 / 10))
  else
    case $kind in
      real) "$bench" "$@" --client "$client" --url "$url" ;;
      tls) "$bench" "$@" --client "$client" --url "$tls_url" ;;
      null) "$bench" "$@" --client "$client" --null ;;
    esac
  fi
}

has_aio_pika=no
! /usr/bin/python3 -c 'import aio_pika' 2> "$folder/aio-pika.log" || has_aio_pika=yes
mkdir -p "$out"
: > "$out/runs.jsonl"
for ((round = 1; round <= rounds; round++)); do
  while IFS='|' read -r name clients kind arguments; do
    [[ $name =~ $only ]] || continue
    if [ "$kind" = tls ] && [ -z "$tls_url" ]; then continue; fi
    read -r -a words <<< "$clients"
    # Every other round in the opposite order, so that none gains by its place.
    if ((round % 2 == 0)); then
      clients=
      for word in "${words[@]}"; do clients="$word $clients"; done
      read -r -a words <<< "$clients"
    fi
    for client in "${words[@]}"; do
      if [ "$client" = aio-pika ] && [ "$has_aio_pika" = no ]; then continue; fi
      read -r -a options <<< "$arguments"
      line=$(run "$client" "$kind" "${options[@]}") || { echo "compare.sh: $name, $client failed" >&2; continue; }
      printf '{"row": "%s", "round": %d, %s\n' "$name" "$round" "${line#\{}" >> "$out/runs.jsonl"
    done
  done < <(rows)
  echo "round $round of $rounds" >&2
done
python3 "$here/compare_report.py" "$out/runs.jsonl" "$out/results.csv" "$out/results.svg"
