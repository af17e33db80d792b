#!/usr/bin/env bash
# Installs the Debian packages that warren is built and tested with, where they are missing.
set -euo pipefail
packages=(build-essential cmake ninja-build pkg-config librabbitmq-dev libfmt-dev libssl-dev catch2
  nlohmann-json3-dev libcli11-dev libcpp-httplib-dev rabbitmq-server python3-aio-pika)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
# Installing the broker must not start the system's service.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
