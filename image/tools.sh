#!/bin/bash
# Makes the folder of tools that build the image, unless it is there: Debian 12 lacks some and has old ones.
# Prints the folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt-sources.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi/image
tools=$cache/tools
stamp=$(sha256sum "$here/tools.sh" | cut -c1-16)

if [ "$(cat "$cache/tools.built-from" 2>/dev/null)" != "$stamp" ]; then
    packages=(
        apt bubblewrap ca-certificates cpio cryptsetup-bin debian-archive-keyring diffutils dosfstools e2fsprogs
        erofs-utils fdisk gpgv kmod mkosi mtools openssl procps python3-pefile systemd systemd-boot-efi
        systemd-boot-tools systemd-container systemd-repart systemd-ukify uidmap util-linux zstd
    )
    echo "making the folder of image tools (a minute, the first time)" >&2
    rm -rf "$tools" "$cache/tools.built-from"
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=apt --aptopt='APT::Install-Recommends "false"' \
        --include="$(IFS=,; echo "${packages[*]}")" trixie "$tools" \
        "deb $DEBIAN_MIRROR trixie main" "deb $DEBIAN_MIRROR trixie-updates main" \
        "deb $SECURITY_MIRROR trixie-security main" >&2
    echo "$stamp" >"$cache/tools.built-from"
fi
echo "$tools"
