#!/bin/bash
# Installs the Debian packages that building and testing warren needs, those
# that are missing only. No system service is started by it.
#
#   install_packages.sh [--clang] [--newest-clang] [--tidy] [--coverage] [--docs] [--fuzz] [--matrix]
#
#   --clang         the second compiler too, for CI
#   --newest-clang  also the newest clang-N that apt offers; newest_clang.sh says which one it is
#   --tidy          also clang-tidy and clang-format
#   --coverage      gcovr
#   --docs          doxygen
#   --fuzz          clang with libFuzzer, the sanitizers and llvm-cov
#   --matrix        what tests/matrix.sh makes another Debian with
set -eu

packages=(
    build-essential cmake ninja-build pkg-config
    librabbitmq-dev libfmt-dev libssl-dev catch2
    nlohmann-json3-dev libcli11-dev libcpp-httplib-dev
    rabbitmq-server python3-aio-pika procps file faketime
)
for option; do
    case $option in
        --clang) packages+=(clang) ;;
        --newest-clang)
            # A fresh container has no list of packages to look in.
            newest=$("${0%/*}/newest_clang.sh") || { apt-get update && newest=$("${0%/*}/newest_clang.sh"); }
            packages+=("$newest")
            ;;
        --tidy) packages+=(clang clang-tidy clang-format) ;;
        --coverage) packages+=(gcovr) ;;
        --docs) packages+=(doxygen) ;;
        --fuzz) packages+=(clang libclang-rt-dev llvm python3) ;;
        --matrix) packages+=(debootstrap rsync git) ;;
        *)
            echo "usage: ${0##*/} [--clang] [--newest-clang] [--tidy] [--coverage] [--docs] [--fuzz] [--matrix]" >&2
            exit 2
            ;;
    esac
done
policy=/usr/sbin/policy-rc.d

missing=()
for package in "${packages[@]}"; do
    # pkg-config is a real package or one provided by pkgconf; both have an entry
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "all packages are installed"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "${0##*/}: missing: ${missing[*]}; run this as root" >&2
    exit 1
fi

if [ -e "$policy" ] || [ -L "$policy" ]; then
    # Someone else's policy stays untouched, but it has to forbid starting.
    rc=0
    "$policy" rabbitmq-server start > /dev/null 2>&1 || rc=$?
    if [ "$rc" != 101 ]; then
        echo "${0##*/}: $policy exists and would let services start (it answered $rc); not installing" >&2
        exit 1
    fi
else
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "${missing[@]}"
