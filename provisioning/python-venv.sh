#!/bin/sh
# Makes a Python environment with exactly the packages of a requirements file. Prints its folder.
# usage: python-venv.sh NAME REQUIREMENTS
set -eu

name=$1 requirements=$2
venv=${XDG_CACHE_HOME:-$HOME/.cache}/nabi/venv/$name

# Written last: an environment with another list, or without one, is made anew.
installed=$venv/requirements.txt
if ! cmp -s "$requirements" "$installed"; then
    echo "installing the Python packages of $requirements" >&2
    mkdir -p "${venv%/*}"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --only-binary :all: \
        --requirement "$requirements" >&2
    cp "$requirements" "$installed"
fi
echo "$venv"
