#!/bin/sh
# Builds llama.cpp's own server and its llama-bench, which benchmarks compare with, against the very
# libraries of the kernel pack: into the pack's build folder, with the same options, as further targets.
# The crate that the pack is built from lacks tools/, so those come from the sources of
# llama-cpp-python. Some minutes on two cores. Prints the folder of both programs.
# usage: build-llama-server.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi
"$here/build-pack.sh" >/dev/null
# build-pack.sh keeps one build folder.
build=$(echo "$cache"/build-llama-cpp-*)
programs=$build/objects/bin
stamp=$build/llama-server.built-from
sources=$(cat "$here/build-llama-server.sh" "$here"/llama-server/patches/*.patch | sha256sum | cut -c1-16)

if [ -x "$programs/llama-server" ] && [ -x "$programs/llama-bench" ] &&
    [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
    echo "$programs"
    exit 0
fi
rm -f "$stamp"

package=llama-cpp-python
version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
archive=$cache/sdists/llama_cpp_python-$version.tar.gz
if [ ! -f "$archive" ]; then
    echo "fetching $package $version from PyPI" >&2
    python=python3
    if ! python3 -m pip --version >/dev/null 2>&1; then
        # Debian's python3 may lack pip; its venv brings one.
        [ -x "$cache/pip/bin/python" ] || python3 -m venv "$cache/pip"
        python=$cache/pip/bin/python
    fi
    "$python" -m pip --disable-pip-version-check download --no-deps --no-binary "$package" \
        --dest "$cache/sdists" "$package==$version" >&2
fi
if ! echo "$sha256  $archive" | sha256sum --check --status; then
    echo "build-llama-server.sh: $archive is not the file that was reviewed (SHA-256 differs): remove it and try again" >&2
    exit 1
fi

echo "building llama-server (minutes, the first time)" >&2
# Half a build leaves nothing behind that make could take for a whole one.
rm -rf "$build/objects/common" "$build/objects/tools" "$build/objects/vendor"
inside=llama_cpp_python-$version/vendor/llama.cpp
# tools/mtmd is in the crate, and belongs to the libraries.
tar -xzf "$archive" -C "$build/llama.cpp" --strip-components=3 --exclude "$inside/tools/mtmd" \
    "$inside/tools" "$inside/scripts/ui-assets.cmake"
for patch in "$here"/llama-server/patches/*.patch; do
    patch -p1 --fuzz=0 -d "$build/llama.cpp" -i "$patch" >&2
done
# What is named here adds targets; how the pack's libraries are compiled stays as it is in the folder.
# No OpenSSL and no web interface: both would be fetched or linked from the machine that builds.
cmake -S "$build/llama.cpp" -B "$build/objects" -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON \
    -DLLAMA_BUILD_SERVER=ON -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF >&2
cmake --build "$build/objects" --target llama-server llama-bench --parallel "$(nproc)" >&2
echo "$sources" >"$stamp"
echo "$programs"
