#!/usr/bin/env bash
# Runs the suite on one of the Debians that warren is tested on. Where this machine is another one, it does so in a
# folder made by debootstrap (as root), with a process and a mount namespace of its own: nothing is left running or mounted.
#
#   tests/matrix.sh debian12|debian13|sid [ARGUMENTS OF tests/run.sh...]
#   tests/matrix.sh debian13 --command COMMAND...     runs something else there, in a copy of this tree
#
# The folder is build/matrix/NAME, or below WARREN_MATRIX_FOLDER, and is used again; where it's deleted, it's made anew.
# The tree in there follows this one (what git knows of, changes included), so that only what changed is built again.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
case ${1:-} in
  debian12) suite=bookworm ;;
  debian13) suite=trixie ;;
  sid) suite=sid ;;
  *) usage ;;
esac
name=$1
shift
command=(tests/run.sh "$@")
if [ "${1:-}" = --command ]; then
  shift
  [ $# -gt 0 ] || usage
  command=("$@")
fi

cd "$source"
if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$suite" ]; then
  exec "${command[@]}"
fi
[ "$(id -u)" = 0 ] || { echo "${0##*/}: run this as root, debootstrap and chroot need it" >&2; exit 1; }
tests/install_packages.sh --matrix

folder=${WARREN_MATRIX_FOLDER:-$source/build/matrix}/$name
if [ ! -f "$folder/etc/os-release" ]; then
  echo "making $folder"
  mkdir -p "${folder%/*}"
  rm -rf "$folder.new"
  # Nobody but root looks for packages in there.
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$folder.new"
  # An archive that is frozen, as a snapshot of sid is, has release files that count as expired.
  echo 'Acquire::Check-Valid-Until "false";' > "$folder.new/etc/apt/apt.conf.d/90warren-frozen"
  mv "$folder.new" "$folder"
fi
cp --dereference /etc/resolv.conf "$folder/etc/resolv.conf"
[ -s "$folder/etc/hosts" ] || echo "127.0.0.1 localhost" > "$folder/etc/hosts"

mkdir -p "$folder/warren"
git ls-files -z --cached --others --exclude-standard |
  rsync --archive --checksum --no-times --delete-missing-args --from0 --files-from=- ./ "$folder/warren/"

# Everything that is started in there ends with it.
exec unshare --mount --pid --fork --kill-child -- bash -euc '
  mount --make-rprivate /
  mount -t proc proc "$0/proc"
  mount --rbind /dev "$0/dev"
  exec chroot "$0" /usr/bin/env -i PATH="$PATH" HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    bash -euc "cd /warren && exec \"\$@\"" bash "$@"
' "$folder" "${command[@]}"
