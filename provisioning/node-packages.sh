#!/bin/sh
# Copies a folder of Node modules and installs exactly what its package-lock.json names. Prints the copy's folder.
# usage: node-packages.sh NAME FOLDER
set -eu

name=$1 folder=$2
copy=${XDG_CACHE_HOME:-$HOME/.cache}/nabi/node/$name

mkdir -p "$copy"
cp "$folder"/package.json "$folder"/package-lock.json "$folder"/*.mjs "$copy"
# Written last: packages of another list, or of none, are installed anew.
installed=$copy/installed.json
if ! cmp -s "$copy/package-lock.json" "$installed"; then
    echo "installing the npm packages of $folder" >&2
    (cd "$copy" && npm ci --silent --ignore-scripts --no-audit --no-fund) >&2
    cp "$copy/package-lock.json" "$installed"
fi
echo "$copy"
