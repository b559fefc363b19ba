#!/bin/sh
# Installs the Debian packages that the given purposes need, and asks for nothing when they are there.
# usage: debian-packages.sh build|test|flash|image|bindings|node|machine...
set -eu

packages=
for purpose in "$@"; do
    case $purpose in
        build) packages="$packages build-essential cmake patch python3 python3-venv curl ca-certificates" ;;
        # What the tests run of what the image has.
        test) packages="$packages nftables openssh-client" ;;
        flash) packages="$packages dosfstools fdisk mtools util-linux zstd" ;;
        bindings) packages="$packages clang libclang-dev" ;;
        image) packages="$packages mmdebstrap zstd git python3 debian-archive-keyring systemd" ;;
        # One from elsewhere, which brings npm along, will do too.
        node) command -v npm >/dev/null || packages="$packages nodejs npm" ;;
        machine) packages="$packages qemu-system-x86 qemu-utils ovmf openssh-client mtools dosfstools e2fsprogs exfatprogs fdisk zstd" ;;
        *) echo "usage: debian-packages.sh build|test|flash|image|bindings|node|machine..." >&2; exit 2 ;;
    esac
done

missing=
for package in $packages; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null || {
        echo "debian-packages.sh: as root, run: apt-get install$missing" >&2
        exit 1
    }
fi
echo "installing Debian packages:$missing" >&2
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
