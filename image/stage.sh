#!/bin/bash
# Lays out what the image has of ours: programs, the kernel pack, the self-test model.
# usage: stage.sh FOLDER EPOCH     EPOCH is the time of the files, in seconds since 1970
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
stage=$1 epoch=$2
programs=(nabi nabi-supervisor nabi-gateway nabi-engine-llama nabi-import nabi-probe nabi-setup)
packages=(-p nabi-console -p nabi-supervisor -p nabi-gateway -p nabi-engine-llama -p nabi-import -p nabi-probe -p nabi-setup)
target=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nabi/target}

# Where libraries lie must not show in the bits; our own files are named from the checkout's root anyhow.
RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" CARGO_TARGET_DIR="$target" cargo build --quiet \
    --locked --manifest-path "$root/Cargo.toml" --profile image --bins "${packages[@]}" >&2
pack=$("$root/kernels/build-pack.sh")

rm -rf "$stage"
lib=$stage/usr/lib/nabi
install -d "$lib/packs"
for program in "${programs[@]}"; do install "$target/image/$program" "$lib/$program"; done
cp -r "$pack" "$lib/packs/llama-cpp"
CARGO_TARGET_DIR="$target" cargo run --quiet --locked --manifest-path "$root/Cargo.toml" -p nabi-makers \
    --bin nabi-make-model -- self-test --out "$lib/self-test" --mtime-unix-s "$epoch" >&2
find "$stage" -type d -exec chmod 755 {} +
find "$lib/packs" "$lib/self-test" -type f -exec chmod 644 {} +
