#!/usr/bin/env bash
# A command in a bare Debian that holds a copy of this checkout: scripts/chroot.sh SUITE FOLDER COMMAND
# Makes the Debian where the folder has none, and takes the checkout's files anew each time. Wants root and debootstrap.
# /proc and /dev are bound in a mount namespace that ends with the command: nothing stays mounted in the folder.
set -euo pipefail
suite=$1 root=$2 command=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
certificates=/etc/ssl/certs/ca-certificates.crt

if [ ! -e "$root/etc/debian_version" ]; then
  printf '==> a bare Debian %s in %s\n' "$suite" "$root"
  rm -rf "$root" "$root.part"
  mkdir -p "$(dirname "$root")"
  debootstrap --variant=minbase --include=ca-certificates,git,make "$suite" "$root.part" >"$root.log" || {
    tail -n 5 "$root.log" >&2
    exit 1
  }
  mv "$root.part" "$root"
fi

# Names and certificates of this machine, on whose network it is.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
if [ -e "$certificates" ]; then cp -L "$certificates" "$root$certificates"; fi
mkdir -p "$root/root/concord"
git -C "$here" ls-files -z | tar -C "$here" --ignore-failed-read --null -T - -cf - | tar -C "$root/root/concord" -xf -

given=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
  SSL_CERT_FILE="$certificates" PIP_CERT="$certificates" OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_NO_INDEX; do
  if [ -n "${!name:-}" ]; then given+=("$name=${!name}"); fi
done
exec unshare --mount bash -c 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "${@:2}" bash -c "cd ~/concord && $1"' \
  "$root" "$command" env -i "${given[@]}"
