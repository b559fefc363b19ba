#!/bin/bash
# Builds the image: nabi_VERSION.raw.zst, the parts of which an update is made, manifest, SBOM, licences.
# usage: build.sh [--out FOLDER] [--fresh]     --fresh uses nothing that an earlier build left
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
. "$here/apt-sources.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi/image
out=$cache/out
incremental=yes
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2; shift 2 ;;
        --fresh) incremental=no; shift ;;
        *) echo "usage: build.sh [--out FOLDER] [--fresh]" >&2; exit 2 ;;
    esac
done
step() { echo "image: $* ($(date +%T))" >&2; }

mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock --nonblock "$lock" || { step "another build runs: waiting for it"; flock "$lock"; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
# Of the commit, so that a build tomorrow has the same bits.
epoch=$(git -C "$root" log -1 --format=%ct)

tools=$("$here/tools.sh")
step "programs"
stage=$cache/stage
"$here/stage.sh" "$stage" "$epoch"

step "Debian and the image"
# In memory where there is enough: a third of the time.
workspace=$cache/workspace
[ "$(df --output=avail -B1G /dev/shm 2>/dev/null | tail -n 1)" -lt 4 ] ||
    workspace=/dev/shm/nabi-image-$(cksum <<<"$cache" | cut -d' ' -f1)
rm -rf "$out" "$workspace"
mkdir -p "$out" "$workspace" "$cache"/{packages,mkosi}
trap 'rm -rf "$workspace"' EXIT
write_sandbox "$cache/sandbox"
PYTHONPATH=$tools/usr/lib/python3/dist-packages python3 -m mkosi --directory "$here" \
    --tools-tree "$tools" --sandbox-tree "$cache/sandbox" --workspace-directory "$workspace" \
    --cache-directory "$cache/mkosi" --package-cache-dir "$cache/packages" --incremental="$incremental" \
    --kernel-command-line "systemd.verity_root_data=/dev/nabi/nabi_${version}_root" \
    --kernel-command-line "systemd.verity_root_hash=/dev/nabi/nabi_${version}_verity" \
    --extra-tree "$stage" --output-directory "$out" \
    --image-version "$version" --source-date-epoch "$epoch" --force build >&2

step "manifest, SBOM, licences"
"$here/parts.py" --out "$out" --version "$version" --cargo "$root" --packages "$cache/packages" \
    --lock "$here/packages.lock" --epoch "$epoch"
step "compressing"
zstd --quiet --force -T0 -15 --long=27 "$out/nabi_$version.raw" -o "$out/nabi_$version.raw.zst"
rm -f "$out/nabi_$version" "$out/nabi_$version.esp.raw" "$out"/initrd "$out"/initrd.cpio.zst "$out/files.tsv"
(cd "$out" && sha256sum -- "nabi_$version".* ./*.tar packages.lock >SHA256SUMS)
ls -l --human-readable "$out" >&2
echo "$out/nabi_$version.raw.zst"
