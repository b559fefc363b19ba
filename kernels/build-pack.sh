#!/bin/sh
# Builds the kernel pack of llama.cpp into the cache, unless one of the same sources is there.
# About ten minutes on two cores. Prints the pack's folder.
# usage: build-pack.sh [--bindings FILE]     FILE gets the Rust bindings of agent/llama-sys
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi
pack=$cache/packs/llama-cpp
stamp=$cache/packs/llama-cpp.built-from

hash_of() { cat "$@" | sha256sum | cut -c1-16; }
# What the objects depend on, and what the pack depends on besides.
objects=$(hash_of "$here"/llama-cpp/patches/*.patch "$here/llama-cpp/src/build.rs" "$here/llama-cpp/Cargo.toml")
sources=$objects-$(hash_of "$here/llama-cpp/src/assemble.rs" "$here/../agent/domain/src/pack.rs")

if [ $# = 0 ] && [ -f "$pack/pack.toml" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
    echo "$pack"
    exit 0
fi

build=$cache/build-llama-cpp-$objects
for other in "$cache"/build-llama-cpp*; do
    [ "$other" = "$build" ] || rm -rf "$other"
done
mkdir -p "$cache/packs"
echo "building the kernel pack of llama.cpp (minutes, the first time)" >&2
CARGO_TARGET_DIR=$cache/target-kernels cargo run --quiet --release --locked --manifest-path "$here/Cargo.toml" -- \
    --build "$build" --pack "$pack" "$@" >&2
echo "$sources" >"$stamp"
echo "$pack"
